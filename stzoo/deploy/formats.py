"""The formats of `stzoo.export`, and what each needs. This module imports no Keras."""

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Format:
    """A format of exported models.

    Args:
        name: string, as in `keras.Model.export`.
        suffix: string, the ending of the file; empty for a folder.
        extra: string, the extra of stzoo that installs what is needed.
        backend: string, the backend of Keras that builds the graph.
        layout: string, how `stzoo.backend` builds it, or empty.
        builders: tuple of the modules that build it.
        runtimes: tuple of pairs of a module that runs it and the name of its package.
            One of them is enough.
        free_batch: bool, whether it can take any number of clips.
        precisions: tuple of strings, of the weights.
        quantizer: tuple of the module that int8 needs beside them and its extra, or
            empty.
    """

    name: str
    suffix: str
    extra: str
    backend: str
    layout: str
    builders: tuple
    runtimes: tuple
    free_batch: bool = True
    precisions: tuple = ("float32",)
    quantizer: tuple = ()


FORMATS = {
    one.name: one
    for one in (
        Format(
            *("onnx", ".onnx", "onnx", "torch", "channels_first"),
            builders=("torch", "onnx"),
            runtimes=(("onnxruntime", "onnxruntime"),),
            precisions=("float32", "int8"),
        ),
        Format(
            *("openvino", ".xml", "openvino", "torch", "channels_first"),
            builders=("torch", "openvino"),
            runtimes=(("openvino", "openvino"),),
            precisions=("float32", "float16", "int8"),
            quantizer=("nncf", "int8"),
        ),
        Format(
            *("tf_saved_model", "", "tensorflow", "tensorflow", ""),
            builders=("tensorflow",),
            runtimes=(("tensorflow", "tensorflow"),),
        ),
        Format(
            *("litert", ".tflite", "litert", "tensorflow", "lowered"),
            builders=("tensorflow",),
            # TensorFlow contains the same interpreter.
            runtimes=(
                ("ai_edge_litert", "ai-edge-litert"),
                ("tensorflow", "tensorflow"),
            ),
            free_batch=False,
            precisions=("float32", "float16", "int8"),
        ),
        Format(
            *("torch", ".pt2", "torch", "torch", "channels_first"),
            builders=("torch",),
            runtimes=(("torch", "torch"),),
        ),
    )
}


def format_of(path, name=None):
    """Returns the format of a file.

    Args:
        path: `pathlib.Path`, the file.
        name: string, the name of the format, or `None` for what the ending says.

    Raises:
        ValueError: the format is unknown, or the file has another ending.
    """
    endings = ", ".join(
        f"{one.suffix or 'no ending (a folder)'} for {one.name}"
        for one in FORMATS.values()
    )
    if name is None:
        for one in FORMATS.values():
            if path.suffix == one.suffix:
                return one
        raise ValueError(
            f"The ending of {path} names no format. Endings are: {endings}."
        )
    if name not in FORMATS:
        raise ValueError(
            f"format must be one of {', '.join(FORMATS)}. Received: {name!r}."
        )
    found = FORMATS[name]
    if found.suffix and path.suffix != found.suffix:
        raise ValueError(
            f"A file of format {name} ends in {found.suffix}. Received: {path}."
        )
    return found


def runtime_of(format):
    """Returns the module that runs a format, and its package.

    Raises:
        ImportError: it is not installed.
    """
    for module, package in format.runtimes:
        if find_spec(module):
            return module, package
    raise ImportError(_advice(format, "To run", format.runtimes[0][1]))


def check_builders(format, precision="float32"):
    """Raises an `ImportError` if a module that builds a format is not installed."""
    for module in format.builders:
        if not find_spec(module):
            raise ImportError(_advice(format, "An export to", module))
    if precision == "int8" and format.quantizer and not find_spec(format.quantizer[0]):
        raise ImportError(_advice(format, "An int8 export to", *format.quantizer))


def _advice(format, what, package, *extras):
    extras = ",".join((format.extra, *extras))
    return (
        f"{what} {format.name} needs {package}, which is not installed. Install it: "
        f'`pip install "stzoo[{extras}]"`.'
    )
