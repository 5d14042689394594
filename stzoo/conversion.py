"""Converts checkpoints of other libraries to models of the zoo.

A checkpoint is a file of PyTorch (`.pth`, `.pth.tar`, `.pt`, `.safetensors`, with the
names of mmaction2, torchvision, TSN, TSM, GSM or P3D), of MXNet (`.params`) or of Caffe
(`.caffemodel`). Each tensor must have a variable and each variable a tensor, or nothing
is converted. PyTorch, MXNet and Caffe are not needed, but a `.caffemodel` needs
protobuf (`stzoo[caffe]`). Only tensors are unpickled.
"""

import dataclasses
import re
from pathlib import Path

from stzoo import zoo
from stzoo.layers.initializers import at_most
from stzoo.weights import checkpoint, url_cache
from stzoo.weights.convert import convert as convert_names
from stzoo.weights.convert import dialect, rename
from stzoo.weights.formats import caffe, mxnet, pytorch

EXPANSION = 10  # limit for inflating kernels, and for two streams from one file

READERS = {
    ".caffemodel": caffe.read,
    ".params": mxnet.read,
    ".safetensors": pytorch.read_safetensors,
}


def convert(builder, files, tag="", **options):
    """Builds a model with the weights of a checkpoint.

    Args:
        builder: string, a name from `stzoo.list_models()`, such as `"cost_resnet50"`.
        files: path of a checkpoint, or the URL of a `.pth` whose name ends in the first
            digits of its sha256, like the downloads of PyTorch. For a model with two
            streams, it can be a list of two, for RGB and for flow.
        tag: string, the name of the weights, such as `"kinetics400"`. If the zoo has
            such weights for this builder, their options, classes and clip are used.
        **options: further options of the builder.

    Returns:
        `keras.Model`. Save it with `stzoo.save`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there is no such builder or option, the file is not a checkpoint, or
            it does not fit the model.
    """
    _check_builder(builder)
    if not isinstance(files, list | tuple):
        files = [files]
    entry = zoo.ENTRIES.get(f"{builder}.{tag}")
    options = zoo.check_options(
        builder, {**(entry.options if entry else {}), **options}
    )
    model = _converted(builder, options, files, entry)
    if entry and entry.options.items() <= model.stzoo.options.items():
        known = {"clip": entry.clip}
        if entry.classes == model.stzoo.classes and not entry.new_head:
            known |= {"labels": entry.labels, "dataset": entry.dataset}
        model.stzoo = dataclasses.replace(model.stzoo, **known)
    return model


def _check_builder(builder):
    if builder not in zoo.BUILDERS:
        raise ValueError(
            f"There is no model {builder!r}. Choose one of {', '.join(zoo.BUILDERS)}."
        )


def parse_options(builder, pairs):
    """Parses options of a builder, such as `["width=16", "variant=a"]`."""
    _check_builder(builder)
    options = {}
    for name, _, text in (pair.partition("=") for pair in pairs):
        default = zoo.default_options(builder).get(name)
        values = [int(n) if re.fullmatch(r"-?\d+", n) else n for n in text.split(",")]
        typed = {int: values[0] if len(values) == 1 else text, tuple: tuple(values)}
        typed[bool] = {"true": True, "false": False}.get(text, text)
        options[name] = typed.get(type(default), text)
    return zoo.check_options(builder, options)


def _converted(builder, options, files, entry=None):
    """Returns the model with the weights of a checkpoint, or of one for each stream."""
    file, *more = files
    tensors = _read(file)
    family = zoo.family(builder)
    key_map = dialect(family.key_map, tensors)
    allow_missing = entry.allow_missing if entry else ()
    classes = _classes(file, tensors, key_map)
    if entry and entry.new_head:
        classes = entry.classes
    numbers = sum(tensor.size for tensor in tensors.values())
    options = {**zoo.default_options(builder), **options}
    try:
        with at_most(checkpoint.TENSORS, EXPANSION * numbers):
            model = zoo.BUILDERS[builder](classes=classes, **options)
        shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
        if family.prepare:
            files = [tensors, *map(_read, more)]
            tensors = family.prepare(files, model.stzoo.options)
        elif more:
            raise ValueError(f"expected 1 file, but got {len(files)}")
        tensors = convert_names(tensors, shapes, key_map)
        checkpoint.check(tensors, shapes, allow_missing, checkpoint.integers(model))
    except ValueError as error:
        wanted = f"{builder} with {options} (other options may fit)"
        raise ValueError(f"{file} does not fit {wanted}: {error}.") from None
    checkpoint.assign(model, tensors)
    return model


def _classes(file, tensors, key_map):
    """Returns the number of classes of a checkpoint."""
    for name, tensor in tensors.items():
        if rename(name, (), key_map) == "fc/kernel" and tensor.ndim:
            return len(tensor)
    raise ValueError(f"{file} has no head: no tensor maps to fc/kernel.")


def _read(file):
    """Returns a dict from the names in a checkpoint to its tensors."""
    from safetensors.numpy import load_file

    try:
        if url_cache.is_url(str(file)):
            return load_file(url_cache.fetch(file))
        return READERS.get(Path(file).suffix, pytorch.read)(Path(file).read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {file}. Check the path.") from None
    except ValueError as error:
        raise ValueError(f"{file} cannot be read as a checkpoint: {error}.") from None
