"""Weights on disk and on the Hub: one tensor for each variable path.

A folder with `model.safetensors` and `config.json` is a model: on disk, among the
weights that ship along, on the Hub. Nothing is unpickled, nothing named in a file is
imported; a model is loaded whole or left as it was.
"""

import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from stzoo.weights import hub
from stzoo.weights.config import Pretrained
from stzoo.weights.convert import convert

logger = logging.getLogger("stzoo")
HEAD = "fc/"  # variables that follow the number of classes


@dataclass(frozen=True)
class Source:
    """Where weights are, in a folder or on the Hub, and what is known of them.

    Args:
        where: path, or an address of the Hub.
        about: `Pretrained`.
        form: function from the model that its builder makes to the one that the
            weights are of; `None`: they are the same.
    """

    where: str | Path
    about: Pretrained
    form: Callable | None = None

    def refuse(self, filename, problem):
        """The error for a file that is there and wrong; the cache does not keep it."""
        hub.discard(self.where)
        advice = "Copy or save it again"
        if hub.remote(self.where):
            advice = "It was removed from the cache, so the next call fetches it again"
        return ValueError(f"{self.where}/{filename}: {problem}. {advice}.")


def find(builder, pretrained, entries):
    """Finds the weights that a builder was asked for.

    Args:
        builder: string, the name of the builder.
        pretrained: `None` or `False`, a tag, `True` for the first tag, a folder,
            `"hf://organisation/repository@revision"`, or a `Source`.
        entries: tuple of `Pretrained`.

    Returns:
        `Source`, or `None` if no weights were asked for.

    Raises:
        FileNotFoundError: they are not there.
        ConnectionError: they did not arrive.
        ValueError: they are there, and wrong.
    """
    if pretrained is None or pretrained is False:
        return None
    if isinstance(pretrained, Source):
        return pretrained
    tags = {entry.tag: entry for entry in entries if entry.builder == builder}
    if pretrained is True and tags:
        pretrained = next(iter(tags))
    if isinstance(pretrained, str) and pretrained in tags:
        source = _published(tags[pretrained], tags)
    elif isinstance(pretrained, str | os.PathLike) and (
        hub.remote(pretrained) or Path(pretrained).is_dir()
    ):
        source = read(pretrained)
    else:
        known = ", ".join(map(repr, tags)) or "none"
        raise ValueError(
            f"pretrained={pretrained!r} is no tag of {builder} (known: {known}), no "
            'folder that is there, and not "hf://organisation/repository@revision".'
        )
    if source.about.builder != builder:
        raise ValueError(
            f"{source.where} holds weights of {source.about.builder}, not of "
            f"{builder}. `stzoo.load` builds what its {hub.CONFIG} says."
        )
    if source.about.fused:
        raise ValueError(
            f"{source.where} holds the deploy form of {builder}, which `stzoo.load` "
            "builds."
        )
    return source


def read(where):
    """Reads what a folder or a repository of the Hub says of its weights.

    Args:
        where: path of a folder, or `"hf://organisation/repository@revision"`.

    Returns:
        `Source`.
    """
    config = hub.fetch(where, hub.CONFIG)
    try:
        about = Pretrained.from_config(json.loads(config.read_text("utf-8")))
    except (ValueError, RecursionError) as error:
        problem = f"this does not describe a model of stzoo: {error}"
        raise Source(where, None).refuse(hub.CONFIG, problem) from None
    return Source(where, about)


def read_tensors(source):
    """The tensors of a safetensors file that has the hash that its record states.

    Args:
        source: `Source`.

    Returns:
        Dict from name to array.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = hub.fetch(source.where, hub.WEIGHTS).read_bytes()
    expected, found = source.about.sha256, hashlib.sha256(data).hexdigest()
    if expected and found != expected:
        raise source.refuse(
            hub.WEIGHTS,
            f"its sha256 is {found}, but {hub.CONFIG} says {expected}: it is damaged "
            "or of another version",
        )
    try:
        return load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: of a type NumPy lacks
        problem = f"not a whole safetensors file of floats ({error})"
        raise source.refuse(hub.WEIGHTS, problem) from None


def load_weights(model, source, tensors, rules=(), prepare=None):
    """Puts every tensor of a file into its variable, or changes nothing.

    Names and shapes must be those of the model. Exceptions: another number of
    classes leaves the head as it is, and what the record calls new may be missing.

    Args:
        model: `keras.Model`.
        source: `Source`.
        tensors: dict from name to array, what `source` holds.
        rules: pairs for `stzoo.weights.convert.convert`, for a file of foreign names.
        prepare: function of the tensors of such a file that returns those to convert.
    """
    shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
    same_head = shapes.get(HEAD + "bias") == (source.about.classes,)
    try:
        if source.about.repository:
            tensors = prepare(tensors) if prepare else tensors
            tensors = convert(tensors, shapes, rules)
        if not same_head:
            tensors, shapes = _without_head(tensors), _without_head(shapes)
        check(tensors, shapes, source.about.new, integers(model))
    except ValueError as error:
        raise source.refuse(hub.WEIGHTS, error) from None
    assign(model, tensors)
    if not same_head:
        logger.warning(
            "%s: the weights are for %d classes, so the head of this model starts new.",
            source.about.name,
            source.about.classes,
        )


def check(tensors, shapes, new=(), whole=()):
    """Raises a `ValueError` unless the tensors are what the variables need.

    Args:
        tensors: dict from variable path to array.
        shapes: dict from variable path to shape.
        new: tuple of strings, patterns of paths that may be missing.
        whole: paths of the variables that hold integers.
    """
    missing = [
        path
        for path in shapes.keys() - tensors.keys()
        if not any(re.search(pattern, path) for pattern in new)
    ]
    unknown = tensors.keys() - shapes.keys()
    if missing or unknown:
        raise ValueError(
            f"its names do not fit the model. Missing: {_some(missing)}. "
            f"Not in the model: {_some(unknown)}"
        )
    for path, tensor in tensors.items():
        if tensor.shape != shapes[path]:
            raise ValueError(
                f"{path} has the shape {tensor.shape}, the model needs {shapes[path]}"
            )
        if tensor.dtype.kind != ("i" if path in whole else "f"):
            kind = "integers" if path in whole else "floats"
            raise ValueError(f"{path} holds {tensor.dtype}, not {kind}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"{path} holds NaN or infinity")


def integers(model):
    """The paths of the variables of a model that hold integers."""
    return {v.path for v in model.weights if "int" in v.dtype}


def assign(model, tensors):
    """Puts tensors that `check` has passed into the variables of a model."""
    for variable in model.weights:
        if variable.path in tensors:
            variable.assign(tensors[variable.path])


def save(model, folder, labels=None, dtype="float32", **known):
    """Writes a model as a folder in the Hub's layout, whole or not at all.

    Args:
        model: a model of the zoo, trained or not.
        folder: path; made if it is not there.
        labels: sequence of strings, the classes in the order of the logits; those
            the model was loaded with by default.
        dtype: `"float32"` or `"float16"`, how tensors of floats are stored. What
            float16 cannot hold, such as the variance of pixels, stays float32.
        **known: further fields of `stzoo.weights.config.Pretrained`: `tag`, `licence`,
            `source`, `reported`, `measured`.
    """
    from safetensors.numpy import save as serialize

    about = getattr(model, "stzoo", None)
    if about is None:
        raise ValueError(
            f"The model {model.name!r} does not say which builder of stzoo made it, so "
            "it could not be loaded again. Use `model.save` of Keras for such a model."
        )
    tensors = {}
    for variable in model.weights:
        tensor = keras.ops.convert_to_numpy(variable.value)
        if not np.isfinite(tensor).all():
            raise ValueError(
                f"{variable.path} holds NaN or infinity; nothing was written."
            )
        if "float" in variable.dtype:
            fits = np.abs(tensor).max(initial=0) <= np.finfo(dtype).max
            tensor = tensor.astype(dtype if fits else "float32")
        # safetensors writes memory as it lies, whatever the strides.
        tensors[variable.path] = np.ascontiguousarray(tensor)
    data = serialize(tensors, {"format": "keras"})
    about = Pretrained(
        about.builder,
        options=about.options,
        classes=about.classes,
        clip=about.clip,
        fused=about.fused,
        labels=tuple(about.labels if labels is None else labels),
        sha256=hashlib.sha256(data).hexdigest(),
        **known,
    )
    config = json.dumps(about.to_config(), indent=2, ensure_ascii=False) + "\n"
    try:
        Pretrained.from_config(json.loads(config))
    except ValueError as error:
        raise ValueError(f"{error}; nothing was written.") from None
    write(
        Path(folder),
        {hub.WEIGHTS: data, hub.CONFIG: config.encode("utf-8", "backslashreplace")},
    )


def write(folder, files):
    """Writes files whole: what is there stays until all of the new is on the disk.

    Args:
        folder: `pathlib.Path`; made if it is not there.
        files: dict from name to bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mine = f".{secrets.token_hex(4)}.part"  # another process may write the same file
    try:
        for name, data in files.items():
            (folder / (name + mine)).write_bytes(data)
        for name in files:
            os.replace(folder / (name + mine), folder / name)
    finally:
        for name in files:
            (folder / (name + mine)).unlink(missing_ok=True)


def _without_head(named):
    return {path: value for path, value in named.items() if not path.startswith(HEAD)}


def _some(names, limit=6):
    names = sorted(names)
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + rest


def _published(entry, tags):
    """Where the weights of an entry are."""
    if "://" in entry.repository:
        return Source(entry.repository, entry)
    if entry.repository:
        return Source(f"hf://{entry.repository}@{entry.revision}", entry)
    if folder := hub.shipped(entry.name):
        return read(folder)
    try:
        return read(f"hf://{hub.namespace()}/{entry.name}@{entry.revision}")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"The weights {entry.name} are not published. {error} Their source: "
            f"{entry.source}. Tags of {entry.builder}: {', '.join(tags)}. To make "
            f"them, train {entry.builder} "
            'from pretrained="imagenet" and `stzoo.save` it, or convert a checkpoint '
            f"with `python scripts/convert_weights.py {entry.builder} FILE --out "
            "FOLDER`; then pass pretrained=FOLDER. STZOO_HUB_NAMESPACE names another "
            "organisation to look in."
        ) from None
