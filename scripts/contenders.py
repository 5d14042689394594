"""The contenders of `scripts/benchmark.py`: models of the zoo and PyTorch networks.

Each contender is a function of a `Case`. It returns the timed function, which has no
arguments.
"""

import dataclasses
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from peers import normalised, peer

EXPORTS = ("onnxruntime", "openvino")
# Channels and side of 3x3 convolutions of 8 frames.
CONVOLUTIONS = ((64, 56), (128, 28), (256, 14), (512, 7), (256, 56))


@dataclasses.dataclass(frozen=True)
class Case:
    """The measurement of one process.

    Args:
        model: string, a builder, or a builder and options:
            `"cost_resnet50:variant=a"`.
        options: dict, all options of the builder.
        shape: tuple `(frames, height, width, channels)` of a clip.
        classes: int.
        backend: string, the backend of Keras.
        precision: `"float32"` or `"bfloat16"`.
        step: `"inference"` or `"training"`.
        batch: int, number of clips.
        threads: int, number of cores.
        contenders: tuple of keys of `CONTENDERS`.
        rounds: int.
        started: float, start time of the process, in seconds of `time.time`.
    """

    model: str
    options: dict
    shape: tuple
    classes: int
    backend: str
    precision: str
    step: str
    batch: int
    threads: int
    contenders: tuple
    rounds: int
    started: float = 0.0

    @property
    def builder(self):
        return self.model.partition(":")[0]


def ours(case, fused=False, compiled=False, rematerialized=False):
    """Returns the model of the zoo, as a function without arguments."""
    import keras

    import stzoo

    if case.precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    model = _created(case)
    if fused:
        model = stzoo.fuse(model)
    model.rematerialize = rematerialized
    x, rng = clips(case), np.random.default_rng(0)
    if compiled:
        model.compile(jit_compile=True)
    if case.step == "inference":
        return lambda: model.predict_on_batch(x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss)
    y = rng.integers(0, case.classes, case.batch)
    return lambda: model.train_on_batch(x, y)


def theirs(case, channels_last=False, compiled=False):
    """Returns the PyTorch network, as a function without arguments."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    module, x = peer(case).to(device), normalised(case).to(device)
    if channels_last:
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        for tensor in module.parameters():
            if tensor.ndim in formats:
                tensor.data = tensor.contiguous(memory_format=formats[tensor.ndim])
        x = x.contiguous(memory_format=torch.channels_last_3d)
    called = torch.compile(module) if compiled else module
    half = torch.autocast(device, torch.bfloat16, case.precision == "bfloat16")

    def infer():
        with torch.no_grad(), half:
            return called(x).float().cpu().numpy()

    optimizer = torch.optim.SGD(module.parameters(), 1e-3, momentum=0.9)
    y = torch.zeros(case.batch, dtype=torch.long, device=device)

    def train():
        optimizer.zero_grad()
        with half:
            loss = torch.nn.functional.cross_entropy(called(x).float(), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    module.train(case.step == "training")
    return train if case.step == "training" else infer


def our_export(case, file):
    """Returns an export of the model, run by its runtime."""
    import stzoo

    with tempfile.TemporaryDirectory() as folder:
        stzoo.export(_created(case), Path(folder, file))
        exported, x = stzoo.load(folder), clips(case)
        exported.predict_on_batch(x)  # which reads the files
    return lambda: exported.predict_on_batch(x)


def their_onnx(case):
    """Returns the PyTorch network, exported to ONNX and run by ONNX Runtime."""
    import onnxruntime
    import torch

    module, x = peer(case).eval(), normalised(case)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "model.onnx"))
        how = dict(dynamo=False, input_names=["clip"], opset_version=18)
        torch.onnx.export(module, (x,), path, **how)
        session = onnxruntime.InferenceSession(path)
    array = x.numpy()
    return lambda: session.run(None, {"clip": array})[0]


def their_openvino(case):
    """Returns the PyTorch network, converted and run by OpenVINO in float32."""
    import openvino
    import torch

    module, x = peer(case).eval(), normalised(case)
    model = openvino.convert_model(torch.export.export(module, (x,)))
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(model, "CPU", exact)
    array = x.numpy()
    return lambda: np.array(compiled(array)[0])


def _created(case):
    import stzoo

    return stzoo.create(
        case.builder, classes=case.classes, input_shape=case.shape, **case.options
    )


CONTENDERS = {
    "stzoo": ours,
    "stzoo fused": partial(ours, fused=True),
    "stzoo compiled": partial(ours, fused=True, compiled=True),
    "stzoo rematerialized": partial(ours, rematerialized=True),
    "eager": theirs,
    "channels last": partial(theirs, channels_last=True),
    "compile": partial(theirs, channels_last=True, compiled=True),
    "stzoo onnxruntime": partial(our_export, file="model.onnx"),
    "plain onnxruntime": their_onnx,
    "stzoo openvino": partial(our_export, file="model.xml"),
    "plain openvino": their_openvino,
}
RUNTIMES = tuple(name for name in CONTENDERS if name.split()[-1] in EXPORTS)


def clips(case):
    """Returns a batch of clips for the models of the zoo, of 0 to 255."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (case.batch, *case.shape)).astype("uint8")


def operations(case):
    """Returns the floating point operations of one run, as PyTorch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        theirs(case)()
    return counter.get_total_flops()


def best_rate(case):
    """Returns the operations per second of PyTorch's fastest 3x3 convolution."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = dict(device=device, dtype=getattr(torch, case.precision))
    rates = []
    for channels, side in CONVOLUTIONS:
        x = torch.randn(8, channels, side, side, **kind)
        x = x.contiguous(memory_format=torch.channels_last)
        kernel = torch.randn(channels, channels, 3, 3, **kind)
        kernel = kernel.contiguous(memory_format=torch.channels_last)

        for _ in range(8):
            start = time.perf_counter()
            torch.nn.functional.conv2d(x, kernel, padding=1)[0, 0, 0, 0].item()
            seconds = time.perf_counter() - start
            rates.append(2 * 9 * channels * x.numel() / seconds)
    return max(rates)
