"""Saves and loads the weights of models.

A folder with `model.safetensors` and `config.json` is a model, on disk, in the package
and on the Hub. The tensors have the paths of the variables as names. Nothing is
unpickled, and nothing that a file names is imported. If loading fails, the model does
not change.
"""

import functools
import hashlib
import io
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
from stzoo.weights.formats import safetensors

logger = logging.getLogger("stzoo")
HEAD = "fc/"  # the variables whose shape depends on the number of classes
TENSORS = 10_000  # more than any model has


@dataclass(frozen=True)
class Source:
    """The location of weights, and their record.

    Args:
        where: path of a folder, or an `"hf://..."` address or URL.
        config: `ModelConfig`.
        form: function that turns the model of the builder into the one that the weights
            belong to, such as a fused model. `None`: the model of the builder.
        data: bytes, the weights of a folder, read together with its config, or `None`.
        tensors: dict from name to array, or `None` if they have not been read.
    """

    where: str | Path
    config: ModelConfig
    form: Callable | None = None
    data: bytes | None = field(default=None, repr=False)
    tensors: dict | None = field(default=None, repr=False)

    def refuse(self, filename, problem):
        """Returns the error for an invalid file. Evicts it from a cache if damaged."""
        problem = str(problem).rstrip(".")
        if len(problem) > 1000:
            problem = problem[:1000] + " ..."
        advice = "Copy or save it again"
        if hub.evict(self.where, filename):
            advice = (
                "The damaged file was removed from the cache. The next call "
                "downloads it again"
            )
        elif hub.is_url(self.where):
            advice = "The cache was not changed. Try another revision"
        return ValueError(f"{self.where}/{filename}: {problem}. {advice}.")


def resolve_weights(builder, pretrained, entries):
    """Finds the weights for the argument `pretrained` of a builder.

    Args:
        builder: string, the name of the builder.
        pretrained: `None` or `False`, a tag, `True` for the first tag, a folder,
            `"hf://organisation/repository@revision"`, or a `Source`.
        entries: tuple of `ModelConfig`.

    Returns:
        `Source`, or `None` for random weights.

    Raises:
        FileNotFoundError: the weights do not exist.
        ConnectionError: the download failed.
        ValueError: the weights are invalid, or belong to another model.
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
            f"pretrained={pretrained!r} is not a tag of {builder} (tags: {known}), not "
            'an existing folder, and not "hf://organisation/repository@revision".'
        )
    if source.config.builder != builder:
        raise ValueError(
            f"{source.where} has weights of {source.config.builder}, not of {builder}. "
            "Use `stzoo.load`, which builds the right model."
        )
    if source.config.fused:
        raise ValueError(
            f"{source.where} has the weights of a fused {builder}. Use `stzoo.load`, "
            "which builds the fused model."
        )
    return source


def read(where):
    """Reads the config.json of a folder, or of a repository of the Hub.

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
    """Parses a config.json.

    Args:
        where: path or address of its folder or repository.
        text: bytes, the config.json.
        data: bytes, the weights, or `None` if they have not been read.

    Returns:
        `Source`.
    """
    try:
        config = ModelConfig.from_json(text)
    except ValueError as error:
        problem = f"this is not the config of a model of stzoo: {error}"
        raise Source(where, None).refuse(hub.CONFIG, problem) from None
    return Source(where, config, data=data)


def read_pair(folder):
    """Reads the config and the weights of a folder, both from the same `save`.

    Args:
        folder: `pathlib.Path`.

    Returns:
        Tuple of two bytes.
    """
    writer.recover(folder)
    last, times = None, 0
    while times < 5:  # a mismatch that stays is not a save in progress
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
    """Returns `False` only if a config has the hash of other weights."""
    try:
        expected = ModelConfig.from_json(config).sha256
    except ValueError:
        return True
    return expected in ("", hashlib.sha256(data).hexdigest())


def read_tensors(source):
    """Reads the tensors of a source, and checks their hash.

    Args:
        source: `Source`.

    Returns:
        Dict from name to array.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if source.tensors is not None:
        return source.tensors
    tensors = {}
    for filename, path in _weight_files(source).items():
        data = source.data if path is None else None
        _check_hash(source, filename, path)
        try:
            tensors |= load(data) if path is None else safetensors.read(path)
        except (SafetensorError, KeyError, ValueError) as error:
            problem = f"it is not a safetensors file, or it is incomplete ({error})"
            raise source.refuse(filename, problem) from None
    if not source.config.repository:
        _check_claims(source, tensors)
    return tensors


def _weight_files(source):
    """Returns a dict from the names of the files of weights to their paths.

    Large models of the Hub are split into several files, which an index lists. The
    path is `None` for weights that are in memory.
    """
    if source.data is not None:
        return {hub.WEIGHTS: None}
    try:
        return {hub.WEIGHTS: hub.fetch(source.where, hub.WEIGHTS)}
    except (ConnectionError, FileNotFoundError) as error:
        try:
            index = hub.fetch(source.where, hub.INDEX)
        except (OSError, ValueError):
            raise error from None
    try:
        parts = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        if not all(re.fullmatch(r"[\w.-]+\.safetensors", part) for part in parts):
            raise ValueError(f"it lists {shortened(parts)}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        problem = f"it is not an index of safetensors files ({error})"
        raise source.refuse(hub.INDEX, problem) from None
    return {part: hub.fetch(source.where, part) for part in parts}


def _check_hash(source, filename, path):
    """Checks the hash of a file of weights, if there is one."""
    expected = source.config.sha256 if filename == hub.WEIGHTS else ""
    expected = expected or (path and hub.stated_sha256(path))
    if not expected:
        logger.warning(
            "%s: %s has no sha256, so damaged weights may not be detected. "
            "`stzoo.save` writes the sha256.",
            source.where,
            hub.CONFIG,
        )
        return
    with io.BytesIO(source.data) if path is None else path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise source.refuse(
            filename,
            f"its sha256 is {found}, but {hub.CONFIG} has {shortened(expected)}. The "
            "file is damaged, or it is another version",
        )


def _check_claims(source, tensors):
    """Checks that a config asks for no larger head than that of its weights."""
    if len(tensors) > TENSORS:
        raise source.refuse(
            hub.WEIGHTS, f"it has {len(tensors)} tensors, more than {TENSORS}"
        )
    classes = source.config.classes
    for name in (HEAD + "bias", HEAD + "kernel"):
        if name not in tensors:
            problem = f"its names do not match the model. Missing: {name}"
            raise source.refuse(hub.WEIGHTS, problem)
        if (shape := tensors[name].shape)[-1:] != (classes,):
            raise source.refuse(
                hub.WEIGHTS,
                f"{name} has the shape {shortened(shape)}, but {hub.CONFIG} has "
                f"{shortened(classes)} classes",
            )


def load_weights(model, source, tensors, key_map=(), prepare=None):
    """Assigns the tensors of a source to the variables of a model.

    Names and shapes must match, or nothing changes. There are two exceptions: the head
    keeps its values if the number of classes differs, and variables that match
    `allow_missing` of the config keep theirs if they are missing.

    Args:
        model: `keras.Model`.
        source: `Source`.
        tensors: dict from name to array, the tensors of `source`.
        key_map: pairs for `stzoo.weights.convert.convert`, used if the file has foreign
            names.
        prepare: function from the tensors of such a file to those to convert, or
            `None`.
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
            "%s: the weights are for %d classes, so the head of this model is random.",
            source.config.name,
            source.config.classes,
        )


def check(tensors, shapes, allow_missing=(), whole=()):
    """Raises a `ValueError` unless the tensors match the variables.

    Args:
        tensors: dict from variable path to array.
        shapes: dict from variable path to shape.
        allow_missing: tuple of strings, patterns of paths that can be missing.
        whole: paths of the integer variables.
    """
    missing = [
        path
        for path in shapes.keys() - tensors.keys()
        if not any(re.search(pattern, path) for pattern in allow_missing)
    ]
    unknown = tensors.keys() - shapes.keys()
    if missing or unknown:
        raise ValueError(
            f"its names do not match the model. Missing: {_some(missing)}. "
            f"Not in the model: {_some(unknown)}"
        )
    for path, tensor in tensors.items():
        if tensor.shape != shapes[path]:
            raise ValueError(
                f"{path} has the shape {shortened(tensor.shape)}, but the model needs "
                f"{shapes[path]}"
            )
        if tensor.dtype.kind != ("i" if path in whole else "f"):
            kind = "integers" if path in whole else "floats"
            raise ValueError(f"{path} has the type {tensor.dtype}, not {kind}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"{path} contains NaN or infinity")


def integers(model):
    """Returns the paths of the integer variables of a model."""
    return {v.path for v in model.weights if "int" in v.dtype}


def assign(model, tensors):
    """Assigns tensors that passed `check` to the variables of a model."""
    for variable in model.weights:
        if variable.path in tensors:
            # A copy, since the tensor can be a view of a file with its axes in another
            # order.
            variable.assign(np.array(tensors[variable.path], order="C"))


def save(model, folder, labels=None, dtype="float32", **known):
    """Saves a model to a folder in the layout of the Hub.

    The write is atomic: an existing model is replaced only when the new one is
    complete, even if the process is killed. The folder also gets a `README.md`, the
    model card, see `stzoo.weights.card`. A card that was edited is kept.

    LoRA weights are merged into the kernels. The loaded model has the same outputs, but
    no LoRA.

    Args:
        model: a model of the zoo, trained or not.
        folder: path. It is created if it does not exist.
        labels: sequence of strings, the classes in the order of the logits. Defaults to
            the labels of the model.
        dtype: `"float32"` or `"float16"`, the type in which floats are stored. Tensors
            with values that are too large for float16 are stored as float32.
        **known: further fields of `stzoo.weights.config.ModelConfig`: `tag`, `licence`,
            `source`, `reported`, `measured`, `base_model`, `training`. `base_model`
            defaults to the weights that the model was loaded from.

    Raises:
        ValueError: the model is not one of the zoo, it is quantized, or it has a value
            that cannot be stored. Nothing is written.
    """
    from safetensors.numpy import save as serialize

    config = getattr(model, "stzoo", None)
    if config is None:
        raise ValueError(
            f"The model {model.name!r} was not built by stzoo, so `stzoo.load` could "
            "not build it. Use `model.save` of Keras instead."
        )
    if config.export:
        raise ValueError(
            f"{config.name} is an exported model, which has no weights to save. Copy "
            "its folder, or save the model that it was made from."
        )
    data = serialize(_stored_tensors(model, dtype), {"format": "keras"})
    labels = config.labels if labels is None else tuple(labels)
    dataset = config.dataset if labels == config.labels else ""
    known = {"dataset": dataset, "base_model": config.base_model, **known}
    config = ModelConfig(
        config.builder,
        options=config.options,
        classes=config.classes,
        clip=config.clip,
        fused=config.fused,
        multi_label=config.multi_label,
        thresholds=config.thresholds,
        labels=labels,
        sha256=hashlib.sha256(data).hexdigest(),
        **known,
    )
    new = {hub.WEIGHTS: data, hub.CONFIG: _encoded(config)}
    writer.write(folder, {**new, **card.files(config, folder)})


def _stored_tensors(model, dtype):
    """Returns a dict from variable path to the array to save."""
    check_floats(
        model,
        "Save it before you quantize it, or use `model.save` of Keras. Nothing was "
        "written.",
    )
    tensors = {}
    for path, tensor in merged(model).items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{path} contains NaN or infinity. Nothing was written.")
        if "float" in tensor.dtype.name:
            fits = np.abs(tensor).max(initial=0) <= np.finfo(dtype).max
            tensor = tensor.astype(dtype if fits else "float32")
        # safetensors ignores strides.
        tensors[path] = np.ascontiguousarray(tensor)
    return tensors


def _encoded(config):
    """Returns a config as the bytes of a config.json that can be loaded."""
    encoded = config.to_json()
    try:
        ModelConfig.from_json(encoded)
    except ValueError as error:
        raise ValueError(f"{error}. Nothing was written.") from None
    return encoded


def _without_head(named):
    return {path: value for path, value in named.items() if not path.startswith(HEAD)}


def _some(names, limit=6):
    names = [n if len(n) < 200 else shortened(n) for n in sorted(names)]
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + rest


def _published(entry, entries):
    """Returns the source of an entry.

    If STZOO_HUB_NAMESPACE names an organisation on the Hub, it is tried first.
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
            logger.info("%s: the original weights are used instead.", error)
    if "-NC" in entry.licence:
        _log_licence(entry.name, entry.licence)
    if "://" in entry.repository:
        return Source(entry.repository, entry)
    if entry.repository:
        return Source(f"hf://{entry.repository}@{entry.revision}", entry)
    raise FileNotFoundError(
        f"The weights {entry.name} are not published. {_advice(entry, entries)}"
    )


@functools.cache  # logs once
def _log_licence(name, licence):
    logger.warning("%s must not be used commercially (licence %s).", name, licence)


def _advice(entry, entries):
    """Returns what to do if the weights of an entry are not available."""
    near = [
        one.name
        for one in entries
        if (one.builder == entry.builder or one.dataset == entry.dataset != "")
        and (one.repository or hub.shipped(one.name))
    ]
    source = f"Their source is {entry.source}. " if entry.source else ""
    return (
        f"{source}Similar weights that are available: "
        f"{', '.join(near) or 'none of this family'}. `stzoo list --pretrained` lists "
        f"all weights. Or train {entry.builder} and save it with `stzoo.save`, or "
        f"convert a checkpoint with `stzoo convert {entry.builder} FILE --out FOLDER`, "
        "then pass pretrained=FOLDER."
    )
