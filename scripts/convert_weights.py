"""python scripts/convert_weights.py cost_resnet50 FILE --out FOLDER

Converts a checkpoint of PyTorch (`.pth`, `.pth.tar`, `.safetensors`; with the names of
mmaction2, of torchvision, of the port of P3D), of MXNet (`.params`) or of Caffe
(`.caffemodel`) to a folder for `stzoo.load`. Every tensor of the file must find its
variable and every variable its tensor; else nothing is written. Options of the builder
follow as `--option variant=a --option width=16`; where `--tag` names an entry of the
zoo, the options and the preparation of clips are the entry's.
"""

import argparse
import dataclasses
import re
import sys
from pathlib import Path

import numpy as np

import stzoo
from stzoo import checkpoint, zoo
from stzoo.convert import convert, dialect, rename
from stzoo.formats import caffe, mxnet

READERS = {".caffemodel": caffe.read, ".params": mxnet.read}
# mmcv keeps the best accuracy beside the weights, a NumPy scalar.
SCALAR = np.float64().__reduce__()[0]
HARMLESS = [SCALAR, (SCALAR, "numpy.core.multiarray.scalar"), np.dtype]
HARMLESS += [type(np.dtype(name)) for name in ("float32", "float64", "int64")]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    parser.add_argument("builder", help="as in `stzoo list`: cost_resnet50")
    parser.add_argument("file", type=Path, help="the checkpoint")
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
        entry = zoo.PRETRAINED.get(f"{chosen.builder}.{chosen.tag}")
        options = {**(entry.options if entry else {}), **options}
        model = converted(chosen.builder, options, chosen.file)
        if entry and entry.options.items() <= model.stzoo.options.items():
            model.stzoo = dataclasses.replace(model.stzoo, clip=entry.clip)
        stzoo.save(model, chosen.out, labels, tag=chosen.tag, source=chosen.file.name)
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


def converted(builder, options, file):
    """The model with the weights of a checkpoint."""
    tensors = read(file)
    family = sys.modules[zoo.BUILDERS[builder].__module__]
    rules = dialect(family.RULES, tensors)
    head = [t for name, t in tensors.items() if rename(name, (), rules) == "fc/kernel"]
    if not head:
        raise ValueError(f"{file} has no head, no tensor becomes fc/kernel.")
    model = zoo.BUILDERS[builder](classes=len(head[0]), **options)
    shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
    try:
        tensors = convert(tensors, shapes, rules)
        checkpoint.check(tensors, shapes)
    except ValueError as error:
        wanted = f"{builder} with {model.stzoo.options} (--option changes that)"
        raise ValueError(f"{file} does not fit {wanted}: {error}.") from None
    checkpoint.assign(model, tensors)
    return model


def read(file):
    """The tensors of a checkpoint by name; nothing but tensors is unpickled."""
    try:
        if file.suffix in READERS:
            return READERS[file.suffix](file.read_bytes())
        import torch
        from safetensors.torch import load_file

        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            with torch.serialization.safe_globals(HARMLESS):
                state = torch.load(file, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state)
        named = {re.sub(r"^module\.", "", name): t for name, t in state.items()}
        return {name: tensor.float().numpy() for name, tensor in named.items()}
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} is missing.") from None
    except ImportError:
        raise
    except Exception as error:  # of the reader, the archive, the pickle
        code = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {code[1]}, which is not run" if code else str(error).strip()
        reason = reason.partition("\n")[0] or type(error).__name__
        raise ValueError(f"{file} is no file of tensors ({reason}).") from None


if __name__ == "__main__":
    main()
