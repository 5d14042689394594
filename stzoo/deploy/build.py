"""Builds the graph of an export, in a process of its own.

`stzoo.export` starts it as `python -m stzoo.deploy.build REQUEST`, with the backend of
Keras and the layout that the format needs. REQUEST is a JSON file.
"""

import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

import stzoo
from stzoo.deploy.quantization import (
    Batches,
    quantize_litert,
    quantize_onnx,
    quantize_openvino,
)
from stzoo.deploy.runtime import BATCH, FEATURES, INPUT, LOGITS, NEW, STATE
from stzoo.inference.frame_network import frame_network
from stzoo.layers.attention import DotProductAttention

OPSET = 18  # of ONNX, since 2022


def build(format, model, path, batch, precision, calibration=None, online=False):
    """Writes a model in a format.

    Args:
        format: string, a name of `stzoo.deploy.formats.FORMATS`.
        model: string, folder of a model that `stzoo.save` has written.
        path: string, the file to write.
        batch: int, number of clips, or `None` for any.
        precision: `"float32"`, `"float16"` or `"int8"`, of the weights.
        calibration: string, for int8 the file of an array of clips.
        online: bool, whether it takes frames one by one.
    """
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    model = stzoo.load(model)
    inputs, outputs = _ends_of_frames(model) if online else _ends(model)
    network = keras.Model(list(inputs.values()), outputs)
    shapes = {name: (batch, *x.shape[1:]) for name, x in inputs.items()}
    batches = calibration and Batches(np.load(calibration, mmap_mode="r"), batch or 1)
    of_torch = keras.backend.backend() == "torch"
    write = _from_torch if of_torch else _from_tensorflow
    write(format, network, path, shapes, precision, batches)


def _ends(model):
    """Returns the inputs and the outputs of a model, by name."""
    outputs = {LOGITS: model.output}
    if FEATURES in [layer.name for layer in model.layers]:
        outputs[FEATURES] = model.get_layer(FEATURES).output
    return {INPUT: model.input}, outputs


def _ends_of_frames(model):
    """Returns the inputs and the outputs of the network for one frame, by name."""
    network = frame_network(model)
    names = [STATE.format(number) for number in range(len(network.inputs) - 1)]
    inputs = dict(zip((INPUT, *names), network.inputs, strict=True))
    kept = (LOGITS, *map(NEW.format, names))
    return inputs, dict(zip(kept, network.outputs, strict=True))


def _from_torch(format, network, path, shapes, precision, batches):
    import torch

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, *inputs):
            return dict(self.network(list(inputs)))

    module, batch = Module().eval(), shapes[INPUT][0]
    example = tuple(torch.zeros(batch or 2, *sizes) for _, *sizes in shapes.values())
    with torch.no_grad():
        if format == "onnx":
            return _to_onnx(module, example, path, list(shapes), batch, batches)
        free = None if batch else {0: torch.export.Dim.DYNAMIC}
        frees = ((free,) * len(example),)
        program = torch.export.export(module, example, dynamic_shapes=frees)
    if format == "torch":
        return torch.export.save(program, path)
    converted = _to_openvino(program, shapes)
    if batches:
        attention = _has_attention(network)
        converted = quantize_openvino(converted, INPUT, batches, attention)
    _save_openvino(converted, path, precision)


def _has_attention(network):
    return any(isinstance(one, DotProductAttention) for one in network.layers)


def _to_onnx(module, example, path, inputs, batch, batches):
    import torch

    outputs = list(module(*example))
    axes = None if batch else {name: {0: BATCH} for name in (*inputs, *outputs)}
    torch.onnx.export(
        module,
        example,
        path,
        # The newer exporter needs onnxscript, and computes the same.
        dynamo=False,
        opset_version=OPSET,
        input_names=inputs,
        output_names=outputs,
        dynamic_axes=axes,
    )
    if batches:
        quantize_onnx(path, INPUT, batches)


def _to_openvino(program, shapes):
    import openvino

    converted = openvino.convert_model(program)
    names = [spec.split(".")[-1] for spec in program.call_spec.out_spec.context]
    for input, name in zip(converted.inputs, shapes, strict=True):
        input.set_names({name})
    for output, name in zip(converted.outputs, names, strict=True):
        output.set_names({name})
    fixed = {name: [size or -1 for size in shape] for name, shape in shapes.items()}
    converted.reshape(fixed)
    return converted


def _save_openvino(converted, path, precision):
    import openvino

    half = precision == "float16"
    openvino.save_model(converted, path, compress_to_fp16=half)


def _from_tensorflow(format, network, path, shapes, precision, batches):
    import tensorflow as tf

    taken = [tf.TensorSpec(shape, tf.float32, name) for name, shape in shapes.items()]

    @tf.function(input_signature=taken)
    def serve(*inputs):
        return network(list(inputs), training=False)

    module = tf.Module()
    module.kept = [variable.value for variable in network.variables]
    module.serve = serve
    if format == "tf_saved_model":
        return tf.saved_model.save(module, path, {"serving_default": serve})
    with tempfile.TemporaryDirectory() as saved:  # a file of LiteRT has its signature
        tf.saved_model.save(module, saved, {"serving_default": serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        Path(path).write_bytes(_lite(converter, precision, batches))


def _lite(converter, precision, batches):
    import tensorflow as tf

    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if batches:
        quantize_litert(converter, batches)
    elif precision == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


if __name__ == "__main__":
    build(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
