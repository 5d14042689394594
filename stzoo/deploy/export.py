"""A model as a file that another runtime runs, without Keras."""

import dataclasses
import hashlib
import json
import logging
import tempfile
from pathlib import Path
from reprlib import repr as shortened

import keras
import numpy as np

from stzoo import writer
from stzoo.deploy import process, runtime
from stzoo.deploy.calibration import AGREEMENT, agreement, read_clips
from stzoo.deploy.example import program
from stzoo.deploy.formats import check_builders, format_of, runtime_of
from stzoo.deploy.fusion import fuse
from stzoo.inference.frame_network import frame_network
from stzoo.inference.online import check_online
from stzoo.inference.views import predict_views
from stzoo.layers.conv import ClipConv, DepthwiseConv, FrameConv
from stzoo.layers.cost import CoST
from stzoo.layers.pool import MaxPool
from stzoo.weights import checkpoint, hub

logger = logging.getLogger("stzoo")
TOLERANCE = {"float32": 1e-4, "float16": 2e-2}  # relative to the largest logit
EXAMPLE = "example.py"


def export(
    model,
    path,
    format=None,
    precision="float32",
    batch=None,
    calibration=None,
    online=False,
):
    """Exports a model to a file that another runtime runs, without Keras.

    | format           | file        | run by                    | graph built with |
    |------------------|-------------|---------------------------|------------------|
    | `onnx`           | `.onnx`     | ONNX Runtime              | PyTorch          |
    | `openvino`       | `.xml`      | OpenVINO                  | PyTorch          |
    | `litert`         | `.tflite`   | LiteRT, without extra ops | TensorFlow       |
    | `tf_saved_model` | a folder    | TensorFlow                | TensorFlow       |
    | `torch`          | `.pt2`      | `torch.export`            | PyTorch          |

    Batch norms are folded first, see `stzoo.fuse`. The graph is built in a process of
    its own, with the backend of the table, whatever backend the model is on. The file
    is then run by its runtime, and its answers for random clips are compared with
    those of the model. If they differ, nothing is written.

    The input is `clip`, float32 `(clips, frames, height, width, channels)`, RGB from 0
    to 255. The outputs are `logits` and, for networks that have it, `avgpool`, the
    features that enter the head. Beside the file are `config.json` (clip, labels,
    origin, inputs, outputs, sha256) and `example.py`, which answers for a video with
    NumPy, PyAV and the runtime only. `stzoo.load` loads the folder of the file, and
    `stzoo.predict`, `stzoo.evaluate` and `stzoo.extract` take what it returns.

    With `online=True`, the graph takes one frame and the states of a TSM with the
    online shift, see `stzoo.online`, which also takes what `stzoo.load` returns. Other
    inputs are then `state_0` and so on, and other outputs `new_state_0` and so on,
    which the next frame takes. The states before the first frame are zeros.

    Args:
        model: a model of the zoo, on any backend. It is not changed.
        path: path of the file, such as `"deploy/model.onnx"`. A SavedModel is a folder
            itself.
        format: string of the table. `None`: what the ending says.
        precision: `"float32"`; `"float16"` to store weights in half the space
            (OpenVINO and LiteRT); or `"int8"` for weights in a quarter of the space and
            faster arithmetic (ONNX, OpenVINO and LiteRT), which needs `calibration`.
        batch: int, the number of clips of each call. `None`: any number; for LiteRT
            one, which is the fastest there.
        calibration: for int8 only, what the ranges of the activations are measured on:
            the videos of `stzoo.read_videos` or what it takes, a sequence of paths of
            videos, or an array `(clips, frames, height, width, channels)` of 0 to 255.
            At most 100 clips are used, one of a video, evenly spaced over the list.
            Videos like those of the training are best. Labels are not used. At least
            90 % of these clips must keep their most probable class, and they must not
            all get the same one unless they did before. For several labels, of those
            that reach their thresholds before or after, 90 % must do so both times.
            The log and `config.json` state the measured share.
        online: bool, take frames one by one. Not for int8.

    Returns:
        `pathlib.Path`, the folder, for `stzoo.load`.

    Raises:
        ValueError: the model cannot be exported, the path has an unknown ending, or
            the folder holds something else.
        ImportError: a library is missing. The error says how to install it.
        RuntimeError: the graph could not be built, or its answers differ. Nothing is
            written.

    Example:

    >>> folder = stzoo.export(model, "deploy/model.onnx")
    >>> stzoo.load(folder).predict_on_batch(np.zeros((3, 2, 32, 32, 3))).shape
    (3, 2)
    """
    path = Path(path)
    format = format_of(path, format)
    _check_options(model, format, precision, batch, calibration)
    if online:
        _check_online(model, precision, batch)
    check_builders(format, precision)
    runtime_of(format)
    folder = path.parent if format.suffix else path
    file = path.name if format.suffix else "."
    _check_folder(folder, file)
    clips = None if calibration is None else read_clips(calibration, model)
    how = format, precision, 1 if online else batch
    write_export(model, folder, file, how, clips, online=online)
    return folder


def write_export(model, folder, file, how, clips=None, check=True, online=False):
    """Builds, checks and writes an export.

    Args:
        model: a model of the zoo.
        folder: `pathlib.Path`.
        file: string, the name of the file.
        how: tuple of the `Format`, the precision and the number of clips of each call.
        clips: array of clips for int8, or `None`.
        check: bool. Without it, the answers are not compared, since `stzoo benchmark`
            calibrates with random clips and measures the speed only.
        online: bool, whether it takes frames one by one.
    """
    format, precision, batch = how
    batch = batch if batch or format.free_batch else 1
    with tempfile.TemporaryDirectory(prefix="stzoo-export-") as temporary:
        source, new = Path(temporary, "source"), Path(temporary, "new")
        checkpoint.save(fuse(model), source)
        new.mkdir()
        how = format, precision, batch
        layout = _layout(format, model)
        _build(how, layout, source, new / file, clips, online)
        config = _described(model, source, file, how, online)
        if check:
            config = _checked(model, source, new, config, clips)
        writer.write(folder, _files(config, new))


def _check_options(model, format, precision, batch, calibration):
    """Raises a `ValueError` for what cannot be exported."""
    config = getattr(model, "stzoo", None)
    if config is None or config.export:
        raise ValueError(
            "Only a model from a builder of stzoo or from `stzoo.load` can be "
            f"exported, and an exported one is final. Received: {model!r}."
        )
    if None in model.input_shape[1:]:
        raise ValueError(
            "An export has one size of clips, and this model takes any: its input is "
            f"{model.input_shape}. Build or load it with input_shape=..."
        )
    if precision not in format.precisions:
        raise ValueError(
            f"precision of {format.name} must be {' or '.join(format.precisions)}. "
            f"Received: {precision!r}."
        )
    if (precision == "int8") != (calibration is not None):
        raise ValueError(
            'precision="int8" needs calibration=..., for example '
            'stzoo.read_videos("videos/train"), and no other precision takes it. '
            f"Received: precision={precision!r}, calibration={shortened(calibration)}."
        )
    if batch is not None and (type(batch) is not int or batch < 1):
        raise ValueError(
            f"batch must be an integer, at least 1, or None. Received: {batch!r}."
        )


def _check_online(model, precision, batch):
    """Raises a `ValueError` for what cannot take frames one by one."""
    check_online(model)
    if precision == "int8" or batch not in (None, 1):
        raise ValueError(
            "An online export takes one frame at a time, in float32 or float16. "
            f"Received: precision={precision!r}, batch={batch!r}."
        )


def _check_folder(folder, file):
    """Raises a `ValueError` if an export would overwrite something else."""
    writer.recover(folder)
    if folder.is_file():
        raise ValueError(f"{folder} is a file. Choose another path.")
    names = {hub.CONFIG, EXAMPLE, file} - {"."}
    found = sorted(name for name in names if (folder / name).exists())
    if not found and not (file == "." and folder.is_dir() and any(folder.iterdir())):
        return
    old = runtime.read_export(folder)
    if old is None or old.export["file"] != file:
        what = f"an export to {old.export['file']}" if old else ", ".join(found)
        raise ValueError(
            f"{folder} already holds {what or 'other files'}, which is not an export "
            f"to {file if file != '.' else 'a SavedModel'}. Choose another folder."
        )


def _layout(format, model):
    """Returns how the graph is laid out, see `backend.deploy_torch`."""
    if format.layout != "channels_first":
        return format.layout
    if format.name == "onnx":
        # ONNX Runtime convolves volumes slowly. One clip as images and as volumes, on
        # two cores: cost_resnet50 (a) 193 and 258 ms, p3d_resnet152 151 and 202 ms; but
        # s3d 788 and 745 ms. In int8, volumes take 2.2 (cost_tiny) and 2.8 times
        # (p3d_tiny) as long.
        return "images"
    return "volumes" if any(map(_looks_along_time, model.layers)) else "images"


def _looks_along_time(layer):
    match layer:
        case FrameConv() | DepthwiseConv():
            return False
        case ClipConv():
            return layer.kernel_size[0] > 1
        case MaxPool():
            return layer.pool_size[0] > 1
    return isinstance(layer, CoST)


def _build(how, layout, source, path, clips=None, online=False):
    """Builds the graph, in a process of its own."""
    format, precision, batch = how
    request = source / "request.json"
    values = dict(batch=batch, precision=precision, model=str(source), path=str(path))
    values["online"] = online
    if clips is not None:
        values["calibration"] = str(source / "calibration.npy")
        np.save(values["calibration"], clips)
    request.write_text(json.dumps({"format": format.name, **values}), "utf-8")
    try:
        process.run(
            "stzoo.deploy.build",
            str(request),
            KERAS_BACKEND=format.backend,
            STZOO_DEPLOY=layout,
            CUDA_VISIBLE_DEVICES="",  # a graph must not name a device
        )
    except RuntimeError as error:
        raise RuntimeError(
            f"The export to {format.name} failed, and nothing was written: {error}"
        ) from None


def _files(config, new):
    """Returns all files of an export, as bytes."""
    made = [path for path in sorted(new.rglob("*")) if path.is_file()]
    files = {path.relative_to(new).as_posix(): path.read_bytes() for path in made}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    config = dataclasses.replace(config, export=config.export | {"files": hashes})
    files[hub.CONFIG] = config.to_json()
    return files | {EXAMPLE: program(config).encode()}


def _described(model, source, file, how, online):
    """Returns the record of an export, without the hashes of its files."""
    (format, precision, batch), sizes = how, model.input_shape[1:]
    saved = checkpoint.read(source).config
    outputs = {runtime.LOGITS: saved.classes}
    for layer in model.layers:
        if layer.name == runtime.FEATURES and not online:
            outputs[runtime.FEATURES] = layer.output.shape[-1]
    clips = {
        "name": runtime.INPUT,
        "dtype": "float32",
        "shape": [1, 1, *sizes[1:]] if online else [batch, *sizes],
        "range": [0, 255],
    }
    described = {"format": format.name, "file": file, "precision": precision}
    described |= {"input": clips, "outputs": outputs, "files": {}}
    if online:
        states = enumerate(frame_network(model).input[1:])
        described["states"] = {
            runtime.STATE.format(number): [1, *state.shape[1:]]
            for number, state in states
        }
    clip = saved.clip.resized(sizes)
    hash = model.stzoo.sha256 or saved.sha256
    return dataclasses.replace(model.stzoo, clip=clip, sha256=hash, export=described)


def _checked(model, source, new, config, clips):
    """Returns the record of an export whose answers are like those of the model."""
    exported = runtime.Exported(new, config)
    if any(layer.compute_dtype != "float32" for layer in model.layers):
        model = _in_float32(source)
    if clips is None:
        _check_answers(model, exported, config.export["precision"])
        return config
    found = _check_int8(model, exported, clips)
    return dataclasses.replace(config, export=config.export | {"calibration": found})


def _check_int8(model, exported, clips):
    """Returns what a record says of the calibration, or raises an error."""
    expected = predict_views(model, clips)
    share, same = agreement(expected, predict_views(exported, clips), model.stzoo)
    found = f"{share:.1%} of the answers for {len(clips)} calibration clips"
    if same or share < AGREEMENT:
        found += ", and the same answer for all clips" * same
        raise RuntimeError(
            f"The export was not written, since int8 is too coarse for "
            f"{exported.name} as calibrated: it keeps {found}. At least "
            f"{AGREEMENT:.0%} is needed, and different answers. Calibrate with more "
            "videos, or with videos more like those of the training, or use float32. "
            "Random weights have classes that are too close to each other."
        )
    logger.info("int8 keeps %s. Evaluate both models on other videos.", found)
    return {"clips": len(clips), "agreement": round(share, 4)}


def _check_answers(model, exported, precision):
    """Raises an error if an exported model answers unlike the original."""
    size = exported.stzoo.export["input"]["shape"][0]
    shape = (size or 2, *model.input_shape[1:])
    clips = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    outputs = {runtime.LOGITS: model.output}
    if runtime.FEATURES in exported.stzoo.export["outputs"]:
        outputs[runtime.FEATURES] = model.get_layer(runtime.FEATURES).output
    expected = keras.Model(model.input, outputs).predict_on_batch(clips)
    for count in {len(clips), 1} if size is None else {len(clips)}:
        found = exported.compute(clips[:count])
        for name, values in expected.items():
            _compare(name, found[name], values[:count], exported, precision)


def _in_float32(source):
    """Returns the saved model, under the policy float32."""
    import stzoo

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return stzoo.load(source)
    finally:
        keras.config.set_dtype_policy(policy)


def _compare(name, found, expected, exported, precision):
    expected = np.asarray(expected, "float32")
    worst = np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30)
    if found.shape != expected.shape or not worst <= TOLERANCE[precision]:
        raise RuntimeError(
            f"The export was not written, since {exported.package} answers unlike the "
            f"model: the {name} differ by {worst:.1e} of the largest, and "
            f"{TOLERANCE[precision]:.0e} is allowed. Please report this with the model "
            f"({exported.name}) and the version of {exported.package}."
        )
