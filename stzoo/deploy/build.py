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
from stzoo.deploy.runtime import BATCH, FEATURES, INPUT, LOGITS
from stzoo.layers.attention import DotProductAttention

OPSET = 18  # of ONNX, since 2022


def build(format, model, path, batch, precision, calibration=None):
    """Writes a model in a format.

    Args:
        format: string, a name of `stzoo.deploy.formats.FORMATS`.
        model: string, folder of a model that `stzoo.save` has written.
        path: string, the file to write.
        batch: int, number of clips, or `None` for any.
        precision: `"float32"`, `"float16"` or `"int8"`, of the weights.
        calibration: string, for int8 the file of an array of clips.
    """
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    model = stzoo.load(model)
    outputs = {LOGITS: model.output}
    if FEATURES in [layer.name for layer in model.layers]:
        outputs[FEATURES] = model.get_layer(FEATURES).output
    network = keras.Model(model.input, outputs)
    shape = (batch, *model.input_shape[1:])
    batches = calibration and Batches(np.load(calibration, mmap_mode="r"), batch or 1)
    of_torch = keras.backend.backend() == "torch"
    write = _from_torch if of_torch else _from_tensorflow
    write(format, network, path, shape, precision, batches)


def _from_torch(format, network, path, shape, precision, batches):
    import torch

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, clip):
            return dict(self.network(clip))

    module = Module().eval()
    batch, *sizes = shape
    example = torch.zeros(batch or 2, *sizes)
    with torch.no_grad():
        if format == "onnx":
            return _to_onnx(module, example, path, batch, batches)
        free = None if batch else {0: torch.export.Dim.DYNAMIC}
        program = torch.export.export(module, (example,), dynamic_shapes=(free,))
    if format == "torch":
        return torch.export.save(program, path)
    converted = _to_openvino(program, shape)
    if batches:
        attention = _has_attention(network)
        converted = quantize_openvino(converted, INPUT, batches, attention)
    _save_openvino(converted, path, precision)


def _has_attention(network):
    return any(isinstance(one, DotProductAttention) for one in network.layers)


def _to_onnx(module, example, path, batch, batches):
    import torch

    names = list(module(example))
    torch.onnx.export(
        module,
        (example,),
        path,
        # The newer exporter needs onnxscript, and computes the same.
        dynamo=False,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=names,
        dynamic_axes=None if batch else {name: {0: BATCH} for name in (INPUT, *names)},
    )
    if batches:
        quantize_onnx(path, INPUT, batches)


def _to_openvino(program, shape):
    import openvino

    converted = openvino.convert_model(program)
    names = [spec.split(".")[-1] for spec in program.call_spec.out_spec.context]
    converted.inputs[0].set_names({INPUT})
    for output, name in zip(converted.outputs, names, strict=True):
        output.set_names({name})
    converted.reshape({INPUT: [size or -1 for size in shape]})
    return converted


def _save_openvino(converted, path, precision):
    import openvino

    half = precision == "float16"
    openvino.save_model(converted, path, compress_to_fp16=half)


def _from_tensorflow(format, network, path, shape, precision, batches):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, INPUT)])
    def serve(clip):
        return network(clip, training=False)

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
