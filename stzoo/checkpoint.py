"""Weights on disk and on the Hub: one tensor for each variable path.

A folder with `model.safetensors` and `config.json` is a model: on disk, among the
weights that ship along, on the Hub. Nothing is unpickled, nothing named in a file is
imported; a model is loaded whole or left as it was.
"""

import dataclasses
import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from stzoo import hub
from stzoo.convert import convert
from stzoo.spec import Pretrained

logger = logging.getLogger("stzoo")
HEAD = "fc/"  # variables that follow the number of classes


@dataclass(frozen=True)
class Source:
    """A file of weights and what is known of it; `cached` files may be discarded."""

    about: Pretrained
    path: Path
    cached: bool


def assemble(graph, fresh, classes, clip, pretrained, options, entries, rules=()):
    """Builds a named model and loads its weights: every builder ends here.

    Args:
        graph: function `(clip, classes)` that returns a `keras.Model`.
        fresh: `Pretrained`, the builder's name and what holds without weights.
        classes: int, or `None` for those of the weights.
        clip: tuple `(frames, height, width, channels)`, or `None` for that of the
            weights.
        pretrained: what the builder received, see `find`.
        options: dict, the builder's other arguments, as `config.json` keeps them.
        entries: tuple of `Pretrained`, the published weights of the family.
        rules: pairs for `stzoo.convert.convert`.

    Returns:
        `keras.Model`, whose `stzoo` is its `Pretrained` record.
    """
    source = find(fresh.builder, pretrained, entries)
    about = source.about if source else fresh
    if source:
        _check_options(source, options)
    if clip is not None and len(clip) != 4:
        raise ValueError(
            f"clip must be (frames, height, width, channels). Received: {clip!r}."
        )
    about = dataclasses.replace(
        about,
        options=options,
        clip=about.clip.resized(clip) if clip else about.clip,
        classes=classes or about.classes,
        labels=about.labels if classes in (None, about.classes) else (),
    )
    model = graph(about.clip, about.classes)
    if source:
        load_weights(model, source, rules)
    model.stzoo = about
    return model


def find(builder, pretrained, entries):
    """Finds the weights that a builder was asked for.

    Args:
        builder: string, the name of the builder.
        pretrained: `None` or `False`, a tag, `True` for the first tag, a folder, or
            `"hf://organisation/repository@revision"`.
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
    tags = {entry.tag: entry for entry in entries if entry.builder == builder}
    if pretrained is True and tags:
        pretrained = next(iter(tags))
    if entry := tags.get(pretrained):
        if entry.repository:
            path = hub.download(entry.repository, hub.WEIGHTS, entry.revision)
            return Source(entry, path, cached=True)
        if folder := hub.shipped(entry.name):
            return read(folder)
        try:
            return read(f"hf://{hub.namespace()}/{entry.name}@{entry.revision}")
        except FileNotFoundError as error:
            raise FileNotFoundError(_unpublished(entry, tags, error)) from None
    if Path(pretrained).is_dir() or str(pretrained).startswith("hf://"):
        source = read(pretrained)
        if source.about.builder != builder:
            raise ValueError(
                f"{pretrained} holds weights of {source.about.builder}, not of "
                f"{builder}. `stzoo.load` builds what the folder says."
            )
        return source
    known = ", ".join(map(repr, tags)) or "none"
    raise ValueError(
        f"pretrained={pretrained!r} is neither a tag of {builder} (known: {known}), "
        'nor a folder, nor "hf://organisation/repository@revision".'
    )


def read(where):
    """Reads what a folder or a repository of the Hub says of its weights.

    Args:
        where: path of a folder, or `"hf://organisation/repository@revision"`.

    Returns:
        `Source`.
    """
    cached = str(where).startswith("hf://")
    if cached:
        repository, _, revision = str(where).removeprefix("hf://").partition("@")
        config = hub.download(repository, hub.CONFIG, revision or "main")
    else:
        config = Path(where) / hub.CONFIG
    try:
        about = Pretrained.from_config(json.loads(config.read_text("utf-8")))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{config} is missing: a model's folder holds {hub.CONFIG} and "
            f"{hub.WEIGHTS}, as `stzoo.save` writes them."
        ) from None
    except ValueError as error:
        if cached:
            hub.discard(config)
        raise ValueError(
            f"{where}/{hub.CONFIG} does not describe a model: {error}."
        ) from None
    if cached:
        path = hub.download(repository, hub.WEIGHTS, revision or "main")
    else:
        path = Path(where) / hub.WEIGHTS
    return Source(about, path, cached)


def load_weights(model, source, rules=()):
    """Puts every tensor of a file into its variable, or changes nothing.

    Names and shapes must be those of the model. Exceptions: another number of
    classes leaves the head as it is, and what the record calls new may be missing.

    Args:
        model: `keras.Model`.
        source: `Source`.
        rules: pairs for `stzoo.convert.convert`, for a file with PyTorch's names.
    """
    variables = {variable.path: variable for variable in model.weights}
    shapes = {path: tuple(v.shape) for path, v in variables.items()}
    same_head = shapes.get(HEAD + "bias") == (source.about.classes,)
    try:
        tensors = _read_tensors(source)
        if source.about.repository:
            tensors = convert(tensors, shapes, rules)
        if not same_head:
            tensors, shapes = _without_head(tensors), _without_head(shapes)
        check(tensors, shapes, source.about.new)
    except ValueError as error:
        if source.cached:
            hub.discard(source.path)
        raise ValueError(f"{source.path}: {error}") from None
    for path, tensor in tensors.items():
        variables[path].assign(tensor)
    if not same_head:
        logger.warning(
            "%s: the weights are for %d classes, so the head of this model starts new.",
            source.about.name,
            source.about.classes,
        )


def check(tensors, shapes, new=()):
    """Raises a `ValueError` unless the tensors are what the variables need.

    Args:
        tensors: dict from variable path to array.
        shapes: dict from variable path to shape.
        new: tuple of strings, endings of paths that may be missing.
    """
    missing = [
        path for path in shapes.keys() - tensors.keys() if not path.endswith(new)
    ]
    if missing or tensors.keys() - shapes.keys():
        raise ValueError(
            "names do not fit the model. "
            f"Missing: {_some(missing)}. "
            f"Not in the model: {_some(tensors.keys() - shapes.keys())}."
        )
    for path, tensor in tensors.items():
        if tensor.shape != shapes[path]:
            raise ValueError(
                f"{path} has the shape {tensor.shape}, the model needs {shapes[path]}."
            )
        if not np.isfinite(tensor).all():
            raise ValueError(f"{path} holds NaN or infinity; the file is damaged.")


def save(model, folder, labels=None, dtype="float32", **known):
    """Writes a model as a folder in the Hub's layout, whole or not at all.

    Args:
        model: a model of the zoo, trained or not.
        folder: path; made if it is not there.
        labels: sequence of strings, the classes in the order of the logits; those
            the model was loaded with by default.
        dtype: `"float32"` or `"float16"`, how tensors are stored.
        **known: further fields of `stzoo.spec.Pretrained`: `tag`, `licence`,
            `source`, `reported`, `measured`.
    """
    from safetensors.numpy import save as serialize

    about = getattr(model, "stzoo", None)
    if about is None:
        raise ValueError(
            f"The model {model.name!r} does not say which builder of stzoo made it, so "
            "it could not be loaded again. Use `model.save` of Keras for such a model."
        )
    labels = tuple(about.labels if labels is None else labels)
    if len(labels) not in (0, about.classes):
        raise ValueError(
            f"The model has {about.classes} classes, but labels has {len(labels)}."
        )
    tensors = {
        variable.path: keras.ops.convert_to_numpy(variable).astype(dtype)
        for variable in model.weights
    }
    for path, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(
                f"{path} holds NaN or infinity (as {dtype}); nothing was written."
            )
    data = serialize(tensors, {"format": "keras"})
    about = Pretrained(
        about.builder,
        options=about.options,
        classes=about.classes,
        clip=about.clip,
        labels=labels,
        sha256=hashlib.sha256(data).hexdigest(),
        **known,
    )
    config = json.dumps(about.to_config(), indent=2, ensure_ascii=False) + "\n"
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in {hub.WEIGHTS: data, hub.CONFIG: config.encode()}.items():
        path = Path(folder) / name
        part = path.with_name(name + ".part")
        part.write_bytes(content)
        os.replace(part, path)


def _read_tensors(source):
    """The tensors of a safetensors file that has the hash that its record states."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not source.path.is_file():
        raise ValueError(f"the file is missing; {hub.CONFIG} describes it.")
    data = source.path.read_bytes()
    if source.about.sha256:
        found = hashlib.sha256(data).hexdigest()
        if found != source.about.sha256:
            raise ValueError(
                f"sha256 is {found}, but {source.about.sha256} was expected; "
                "the file is damaged or of another version. Fetch it again."
            )
    try:
        return load(data)
    except SafetensorError as error:
        raise ValueError(
            f"not a whole safetensors file ({error}). Fetch it again."
        ) from None


def _check_options(source, options):
    """Options change what weights mean, often without changing their shapes."""
    received = json.loads(json.dumps(options))
    for key, value in json.loads(json.dumps(source.about.options)).items():
        if received.get(key) != value:
            raise ValueError(
                f"The weights of {source.path.parent} were made with {key}={value!r}, "
                f"but this model has {key}={received.get(key)!r}. Pass the former, "
                "or let `stzoo.load` build the model."
            )


def _without_head(named):
    return {path: value for path, value in named.items() if not path.startswith(HEAD)}


def _some(names, limit=6):
    names = sorted(names)
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + rest


def _unpublished(entry, tags, error):
    others = ", ".join(tag for tag in tags if tag != entry.tag) or "none"
    return (
        f"The weights {entry.name} are not published: {error} Other tags of "
        f"{entry.builder}: {others}. To make them, train {entry.builder} (start from "
        'pretrained="imagenet") and `stzoo.save` it, or convert a checkpoint: `python '
        f"scripts/convert_weights.py {entry.builder} FILE --out FOLDER`; then pass "
        "pretrained=FOLDER. STZOO_HUB_NAMESPACE names another organisation to look in."
    )
