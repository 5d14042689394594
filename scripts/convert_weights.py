"""python scripts/convert_weights.py cost_resnet50 FILE --out FOLDER

Converts a checkpoint of PyTorch (`.pth`, `.pth.tar`, `.safetensors`; with the names of
mmaction2, of torchvision, of the port of P3D), of MXNet (`.params`) or of Caffe
(`.caffemodel`) to a folder for `stzoo.load`. Every tensor of the file must find its
variable and every variable its tensor; else nothing is written. Options of the builder
follow as `--option variant=a --option width=16`; where `--tag` names an entry of the
zoo, the options and the preparation of clips are the entry's, and what the entry calls
new may be missing. FILE may be the URL of a `.pth` whose name ends in the first digits
of its sha256, as PyTorch's downloads do. STPN takes a network of images for both
streams (`--tag imagenet`), or two files, of RGB and of flow.
"""

import argparse
import dataclasses
import re
import sys
from pathlib import Path

import safetensors.numpy

import stzoo
from stzoo import zoo
from stzoo.layers.initializers import at_most
from stzoo.weights import checkpoint, url_cache
from stzoo.weights.convert import convert, dialect, rename
from stzoo.weights.formats import caffe, mxnet, pytorch

EXPANSION = 10  # times the numbers of a file: inflated kernels, two streams of one

READERS = {
    ".caffemodel": caffe.read,
    ".params": mxnet.read,
    ".safetensors": pytorch.read_safetensors,
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    parser.add_argument("builder", help="as in `stzoo list`: cost_resnet50")
    parser.add_argument(
        "file", nargs="+", help="the checkpoint: a path, or a URL of a .pth"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--labels", type=Path, help="text file, a class on each line")
    parser.add_argument("--tag", default="", help="name of the weights: kinetics400")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.builder not in zoo.BUILDERS:
            raise ValueError(f"no {chosen.builder}, only {', '.join(zoo.BUILDERS)}.")
        labels = chosen.labels and chosen.labels.read_text("utf-8").splitlines()
        options = parse_options(chosen.builder, chosen.option)
        entry = zoo.ENTRIES.get(f"{chosen.builder}.{chosen.tag}")
        options = {**(entry.options if entry else {}), **options}
        model = converted(chosen.builder, options, chosen.file, entry)
        if entry and entry.options.items() <= model.stzoo.options.items():
            model.stzoo = dataclasses.replace(model.stzoo, clip=entry.clip)
        source = " ".join(Path(file).name for file in chosen.file)
        stzoo.save(model, chosen.out, labels, tag=chosen.tag, source=source)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"Not converted: {error}")
    print(f"{chosen.out} holds {model.stzoo.name} for {model.stzoo.classes} classes.")


def parse_options(builder, pairs):
    """The options of a builder from texts like `width=16`."""
    options = {}
    for name, _, text in (pair.partition("=") for pair in pairs):
        default = zoo.default_options(builder).get(name)
        values = [int(n) if re.fullmatch(r"-?\d+", n) else n for n in text.split(",")]
        typed = {int: values[0] if len(values) == 1 else text, tuple: tuple(values)}
        typed[bool] = {"true": True, "false": False}.get(text, text)
        options[name] = typed.get(type(default), text)
    return zoo.check_options(builder, options)


def converted(builder, options, files, entry=None):
    """The model with the weights of a checkpoint, or of one for each stream."""
    file, *more = files
    tensors = read(file)
    family = zoo.family(builder)
    key_map = dialect(family.key_map, tensors)
    allow_missing = entry.allow_missing if entry else ()
    head = [
        t for name, t in tensors.items() if rename(name, (), key_map) == "fc/kernel"
    ]
    if not head or not head[0].ndim:
        raise ValueError(f"{file} has no head, no tensor becomes fc/kernel.")
    classes = entry.classes if entry and entry.new_head else len(head[0])
    numbers = sum(tensor.size for tensor in tensors.values())
    options = {**zoo.default_options(builder), **options}
    try:
        with at_most(checkpoint.TENSORS, EXPANSION * numbers):
            model = zoo.BUILDERS[builder](classes=classes, **options)
        shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
        if family.prepare:
            files = [tensors, *map(read, more)]
            tensors = family.prepare(files, model.stzoo.options)
        elif more:
            raise ValueError(f"{len(files)} files are too many for one model")
        tensors = convert(tensors, shapes, key_map)
        checkpoint.check(tensors, shapes, allow_missing, checkpoint.integers(model))
    except ValueError as error:
        wanted = f"{builder} with {options} (--option changes that)"
        raise ValueError(f"{file} does not fit {wanted}: {error}.") from None
    checkpoint.assign(model, tensors)
    return model


def read(file):
    """The tensors of a checkpoint by name; nothing but tensors is unpickled."""
    try:
        if url_cache.is_url(file):
            return safetensors.numpy.load_file(url_cache.fetch(file))
        return READERS.get(Path(file).suffix, pytorch.read)(Path(file).read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} is missing.") from None
    except ValueError as error:
        raise ValueError(f"{file} is no file of tensors ({error}).") from None


if __name__ == "__main__":
    main()
