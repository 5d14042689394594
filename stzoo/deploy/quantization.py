"""Quantizes a graph to int8 after training, with the libraries of its runtime.

Weights have one scale for each channel, and activations one for each tensor, from the
clips of a calibration set (Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877).
What a library does not quantize stays in float32, such as the input.

For ONNX Runtime and OpenVINO, weights use half of the range of 8 bits. A processor
without VNNI adds two products in 16 bits, and clips larger sums: with all of the range,
the export of `cost_tiny.motions` to ONNX loses 2.7 points of its accuracy on AVX2.
"""

import tempfile
from pathlib import Path

import numpy as np

ENDS = ("Convolution", "GroupConvolution", "MatMul", "Result")


class Batches:
    """The batches of a calibration set, each float32 and of the size of the graph.

    Args:
        clips: array `(clips, frames, height, width, channels)`.
        size: int, clips of a batch. The last one continues with the first clips.
    """

    def __init__(self, clips, size):
        self.clips, self.size = clips, size

    def __len__(self):
        return -(-len(self.clips) // self.size)

    def __iter__(self):
        for number in range(len(self)):
            rows = np.arange(number * self.size, (number + 1) * self.size)
            yield self.clips[rows % len(self.clips)].astype("float32")


def quantize_onnx(path, name, batches):
    """Quantizes a file of ONNX in its place.

    Args:
        path: string.
        name: string, the name of the input.
        batches: `Batches`.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.rest = iter(batches)

        def get_next(self):
            batch = next(self.rest, None)
            return None if batch is None else {name: batch}

    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder, "prepared.onnx"))
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            # The default is signed, with which cost_tiny takes 2.2 times as long on a
            # processor with AVX-512 VNNI.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def quantize_openvino(model, name, batches, attention):
    """Returns a quantized model of OpenVINO, by the defaults of NNCF.

    They are its preset "performance", and "mixed" for a transformer. Only the range of
    weights differs.

    Args:
        model: `openvino.Model`.
        name: string, the name of the input.
        batches: `Batches`.
        attention: bool, whether the network is a transformer.
    """
    import nncf

    # NNCF leaves a normalisation of the input in float32 only if it knows its form.
    ignored = nncf.IgnoredScope(names=_before_convolution(model.input(name)))
    return nncf.quantize(
        model,
        nncf.Dataset(batches, lambda batch: {name: batch}),
        subset_size=len(batches),
        model_type=nncf.ModelType.TRANSFORMER if attention else None,
        ignored_scope=ignored,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE,
        ),
    )


def _before_convolution(output):
    """Returns the names of the operations from an input to its first convolution or
    product, or to where several operations read the same tensor.
    """
    names = []
    while len(consumers := output.get_target_inputs()) == 1:
        (node,) = (consumer.get_node() for consumer in consumers)
        if node.get_type_name() in ENDS:
            break
        names.append(node.get_friendly_name())
        output = node.output(0)
    return names


def quantize_litert(converter, batches):
    """Tells a converter of LiteRT to quantize."""
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([batch] for batch in batches)
