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
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as shortened

import numpy as np

from stzoo import writer
from stzoo.weights import card, hub
from stzoo.weights.adapters import check_floats, merged
from stzoo.weights.config import CONFIG_BYTES, ModelConfig
from stzoo.weights.convert import convert

logger = logging.getLogger("stzoo")
HEAD = "fc/"  # variables that follow the number of classes
TENSORS = 10_000  # more than any model has


@dataclass(frozen=True)
class Source:
    """Where weights are, in a folder or on the Hub, and what is known of them.

    Args:
        where: path, or an address of the Hub.
        config: `ModelConfig`.
        form: function from the model that its builder makes to the one that the
            weights are of; `None`: they are the same.
        data: bytes, the file of weights of a folder, read together with its config.
        tensors: dict from name to array, where they have been read.
    """

    where: str | Path
    config: ModelConfig
    form: Callable | None = None
    data: bytes | None = field(default=None, repr=False)
    tensors: dict | None = field(default=None, repr=False)

    def refuse(self, filename, problem):
        """The error for a file that is there and wrong."""
        problem = str(problem).rstrip(".")
        if len(problem) > 1000:
            problem = problem[:1000] + " ..."
        advice = "Copy or save it again"
        if hub.evict(self.where, filename):
            advice = (
                "It was damaged in the cache and was removed from there, so the next "
                "call fetches it again"
            )
        elif hub.is_url(self.where):
            advice = "Nothing was removed; another revision may be right"
        return ValueError(f"{self.where}/{filename}: {problem}. {advice}.")


def resolve_weights(builder, pretrained, entries):
    """Finds the weights that a builder was asked for.

    Args:
        builder: string, the name of the builder.
        pretrained: `None` or `False`, a tag, `True` for the first tag, a folder,
            `"hf://organisation/repository@revision"`, or a `Source`.
        entries: tuple of `ModelConfig`.

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
        source = _published(tags[pretrained], entries)
    elif isinstance(pretrained, str | os.PathLike) and (
        hub.is_url(pretrained) or Path(pretrained).is_dir()
    ):
        source = read(pretrained)
    else:
        known = ", ".join(map(repr, tags)) or "none"
        raise ValueError(
            f"pretrained={pretrained!r} is no tag of {builder} (known: {known}), no "
            'folder that is there, and not "hf://organisation/repository@revision".'
        )
    if source.config.builder != builder:
        raise ValueError(
            f"{source.where} holds weights of {source.config.builder}, not of "
            f"{builder}. `stzoo.load` builds what its {hub.CONFIG} says."
        )
    if source.config.fused:
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
    if hub.is_url(where):
        with hub.fetch(where, hub.CONFIG).open("rb") as file:
            return parse(where, file.read(CONFIG_BYTES + 1))
    return parse(where, *read_pair(Path(where)))


def parse(where, text, data=None):
    """What a config.json says of the weights beside it.

    Args:
        where: path or address, where it is.
        text: bytes, the config.json.
        data: bytes, the weights, where they have been read.

    Returns:
        `Source`.
    """
    try:
        config = ModelConfig.from_json(text)
    except ValueError as error:
        problem = f"this does not describe a model of stzoo: {error}"
        raise Source(where, None).refuse(hub.CONFIG, problem) from None
    return Source(where, config, data=data)


def read_pair(folder):
    """Config and weights of a folder as bytes, both of the same `save`.

    Args:
        folder: `pathlib.Path`.
    """
    writer.recover(folder)
    last, times = None, 0
    while times < 5:  # a pair that stays wrong is no save that is going on
        try:
            pair = [writer.read(folder, name) for name in (hub.CONFIG, hub.WEIGHTS)]
        except FileNotFoundError:
            pair = None
        if pair and _belong_together(*pair):
            break
        times = times + 1 if pair == last else 0
        last = pair
        time.sleep(0.01)
    if pair is None:
        for name in (hub.CONFIG, hub.WEIGHTS):
            hub.fetch(folder, name)  # raises the error
    return pair


def _belong_together(config, data):
    """Whether a config is of these weights, or states no hash, or cannot be read."""
    try:
        expected = ModelConfig.from_json(config).sha256
    except ValueError:
        return True
    return expected in ("", hashlib.sha256(data).hexdigest())


def read_tensors(source):
    """The tensors of a safetensors file that has the hash that its record states.

    Args:
        source: `Source`.

    Returns:
        Dict from name to array.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if source.tensors is not None:
        return source.tensors
    data = _checked_data(source)
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError) as error:  # of a type NumPy lacks
        problem = f"not a whole safetensors file of floats ({error})"
        raise source.refuse(hub.WEIGHTS, problem) from None
    if not source.config.repository:
        _check_claims(source, tensors)
    return tensors


def _checked_data(source):
    """The file of weights as bytes, whose hash is right where one is stated."""
    data, expected = source.data, source.config.sha256
    if data is None:
        path = hub.fetch(source.where, hub.WEIGHTS)
        data, expected = path.read_bytes(), expected or hub.stated_sha256(path)
    if not expected:
        logger.warning(
            "%s: %s states no sha256, so damage to the weights may not show. "
            "`stzoo.save` writes it.",
            source.where,
            hub.CONFIG,
        )
        return data
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise source.refuse(
            hub.WEIGHTS,
            f"its sha256 is {found}, but should be {shortened(expected)} as "
            f"{hub.CONFIG} says: it is damaged or of another version",
        )
    return data


def _check_claims(source, tensors):
    """A config decides what is built, so it may claim no more than its weights hold."""
    if len(tensors) > TENSORS:
        raise source.refuse(hub.WEIGHTS, f"it has {len(tensors)} tensors")
    classes = source.config.classes
    for name in (HEAD + "bias", HEAD + "kernel"):
        if name not in tensors:
            problem = f"its names do not fit the model. Missing: {name}"
            raise source.refuse(hub.WEIGHTS, problem)
        if (shape := tensors[name].shape)[-1:] != (classes,):
            raise source.refuse(
                hub.WEIGHTS,
                f"{name} has the shape {shortened(shape)}, but {hub.CONFIG} says "
                f"{shortened(classes)} classes",
            )


def load_weights(model, source, tensors, key_map=(), prepare=None):
    """Puts every tensor of a file into its variable, or changes nothing.

    Names and shapes must be those of the model. Exceptions: another number of
    classes leaves the head as it is, and what the record calls new may be missing.

    Args:
        model: `keras.Model`.
        source: `Source`.
        tensors: dict from name to array, what `source` holds.
        key_map: pairs for `stzoo.weights.convert.convert`, for a file of foreign names.
        prepare: function of the tensors of such a file that returns those to convert.
    """
    shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
    same_head = shapes.get(HEAD + "bias") == (source.config.classes,)
    try:
        if source.config.repository:
            tensors = prepare(tensors) if prepare else tensors
            tensors = convert(tensors, shapes, key_map)
        if not same_head:
            tensors, shapes = _without_head(tensors), _without_head(shapes)
        check(tensors, shapes, source.config.allow_missing, integers(model))
    except ValueError as error:
        raise source.refuse(hub.WEIGHTS, error) from None
    assign(model, tensors)
    if not same_head:
        logger.warning(
            "%s: the weights are for %d classes, so the head of this model starts new.",
            source.config.name,
            source.config.classes,
        )


def check(tensors, shapes, allow_missing=(), whole=()):
    """Raises a `ValueError` unless the tensors are what the variables need.

    Args:
        tensors: dict from variable path to array.
        shapes: dict from variable path to shape.
        allow_missing: tuple of strings, patterns of paths that may be missing.
        whole: paths of the variables that hold integers.
    """
    missing = [
        path
        for path in shapes.keys() - tensors.keys()
        if not any(re.search(pattern, path) for pattern in allow_missing)
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
                f"{path} has the shape {shortened(tensor.shape)}, the model needs "
                f"{shapes[path]}"
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

    A model that is there stays until the new one is whole, also if the process is
    killed; who loads the folder meanwhile gets one or the other. A `README.md` says
    what the model is, see `stzoo.weights.card`. One that was edited stays.

    Args:
        model: a model of the zoo, trained or not.
        folder: path; made if it is not there.
        labels: sequence of strings, the classes in the order of the logits; those
            the model was loaded with by default.
        dtype: `"float32"` or `"float16"`, how tensors of floats are stored. What
            float16 cannot hold, such as the variance of pixels, stays float32.
        **known: further fields of `stzoo.weights.config.ModelConfig`: `tag`, `licence`,
            `source`, `reported`, `measured`, `base_model`, `training`. What the model
            was loaded from is the `base_model` by default.

    LoRA is merged into the kernels. What is loaded answers as the model does, without
    LoRA.

    Raises:
        ValueError: the model is not of the zoo or is quantized, or a value of it cannot
            be stored. Nothing is written.
    """
    from safetensors.numpy import save as serialize

    config = getattr(model, "stzoo", None)
    if config is None:
        raise ValueError(
            f"The model {model.name!r} does not say which builder of stzoo made it, so "
            "it could not be loaded again. Use `model.save` of Keras for such a model."
        )
    check_floats(
        model,
        "Save it before it is quantized, or use `model.save` of Keras; nothing was "
        "written.",
    )
    tensors = {}
    for path, tensor in merged(model).items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{path} holds NaN or infinity; nothing was written.")
        if "float" in tensor.dtype.name:
            fits = np.abs(tensor).max(initial=0) <= np.finfo(dtype).max
            tensor = tensor.astype(dtype if fits else "float32")
        # safetensors writes memory as it lies, whatever the strides.
        tensors[path] = np.ascontiguousarray(tensor)
    data = serialize(tensors, {"format": "keras"})
    labels = config.labels if labels is None else tuple(labels)
    dataset = config.dataset if labels == config.labels else ""
    known = {"dataset": dataset, "base_model": config.base_model, **known}
    config = ModelConfig(
        config.builder,
        options=config.options,
        classes=config.classes,
        clip=config.clip,
        fused=config.fused,
        labels=labels,
        sha256=hashlib.sha256(data).hexdigest(),
        **known,
    )
    text = json.dumps(config.to_config(), indent=2, ensure_ascii=False) + "\n"
    encoded = text.encode("utf-8", "backslashreplace")
    try:
        ModelConfig.from_json(encoded)
    except ValueError as error:
        raise ValueError(f"{error}; nothing was written.") from None
    new = {hub.WEIGHTS: data, hub.CONFIG: encoded, **card.files(config, folder)}
    writer.write(folder, new)


def _without_head(named):
    return {path: value for path, value in named.items() if not path.startswith(HEAD)}


def _some(names, limit=6):
    names = [n if len(n) < 200 else shortened(n) for n in sorted(names)]
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + rest


def _published(entry, entries):
    """Where the weights of an entry are.

    An organisation on the Hub that STZOO_HUB_NAMESPACE names is asked first.
    """
    if folder := hub.shipped(entry.name):
        return read(folder)
    where = f"hf://{hub.namespace()}/{entry.name}@{entry.revision}"
    if hub.namespace():
        try:
            return read(where)
        except (ConnectionError, FileNotFoundError) as error:
            if not entry.repository:
                raise type(error)(f"{error} {_advice(entry, entries)}") from None
            logger.info("%s: the original is taken instead.", error)
    if "://" in entry.repository:
        return Source(entry.repository, entry)
    if entry.repository:
        return Source(f"hf://{entry.repository}@{entry.revision}", entry)
    raise FileNotFoundError(
        f"Nobody has published the weights {entry.name}. {_advice(entry, entries)}"
    )


def _advice(entry, entries):
    """What to do without the weights of an entry."""
    near = [
        one.name
        for one in entries
        if (one.builder == entry.builder or one.dataset == entry.dataset != "")
        and (one.repository or hub.shipped(one.name))
    ]
    source = f"Their source is {entry.source}. " if entry.source else ""
    return (
        f"{source}The nearest weights that can be had: "
        f"{', '.join(near) or 'none of this family'}; `stzoo list --pretrained` shows "
        f"all. To make them, train {entry.builder} and save it with `stzoo.save`, or "
        f"convert a checkpoint with `stzoo convert {entry.builder} FILE --out FOLDER`; "
        "then pass pretrained=FOLDER."
    )
