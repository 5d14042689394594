"""Exports to int8: smaller, and their answers are close to those of the model."""

import json
import logging
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from deploy.test_export import clips, contents, small
from harness import numpy
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

import stzoo
from stzoo.cli import main
from stzoo.deploy import export as exporting
from stzoo.deploy import formats
from stzoo.deploy.build import OPSET
from stzoo.deploy.calibration import CLIPS, agreement, read_clips
from stzoo.deploy.formats import FORMATS
from stzoo.deploy.quantization import (
    Batches,
    quantize_litert,
    quantize_onnx,
    quantize_openvino,
)
from stzoo.weights.config import ModelConfig

ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}
# Of logits. NNCF clips activations at the mean of the greatest values of the clips.
ERRORS = {"onnx": 0.04, "openvino": 0.18, "litert": 0.04}


@pytest.fixture(scope="module")
def model():
    """A network whose two classes, dark and bright clips, are far apart."""
    made = small("c2d_tiny", {"width": 16, "depths": (1, 1, 1, 1)}, 2)
    features = keras.Model(made.input, made.get_layer("avgpool").output)
    dark, bright = (numpy(features(shades(made, 4)[i::2])).mean(0) for i in (0, 1))
    kernel = np.stack([dark - bright, bright - dark], -1)
    kernel /= np.square(bright - dark).sum()
    made.get_layer("fc").set_weights([kernel, -(dark + bright) / 2 @ kernel])
    return made


def shades(model, count):
    """Returns clips of noise that are dark and bright in turn."""
    bright = 192 * (np.arange(count, dtype="uint8") % 2).reshape(-1, 1, 1, 1, 1)
    return clips(model, count) // 4 + bright.astype("uint8")


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDINGS)
def test_int8_is_small_and_answers_alike(name, model, tmp_path, caplog):
    caplog.set_level("INFO")
    x = shades(model, 5)
    batch = 2 if name == "openvino" else None
    folder = stzoo.export(
        model,
        tmp_path / f"model{ENDINGS[name]}",
        precision="int8",
        batch=batch,
        calibration=x,
    )
    files = contents(folder)
    size = sum(len(files[one]) for one in files.keys() - {"config.json", "example.py"})
    assert size < 0.5 * 4 * model.count_params()
    exported = stzoo.load(folder)
    found, expected = exported.predict_on_batch(x), numpy(model(x))
    assert list(found.argmax(-1)) == list(expected.argmax(-1)) == [0, 1, 0, 1, 0]
    difference = np.sqrt(np.mean((found - expected) ** 2))
    difference /= np.abs(expected).max()
    assert 1e-4 < difference < ERRORS[name], "1e-4 is what float32 has"
    record = json.loads(files["config.json"])["export"]
    assert record["precision"] == exported.stzoo.export["precision"] == "int8"
    assert record["calibration"] == {"clips": 5, "agreement": 1.0}
    assert "int8 keeps 100.0% of the answers for 5 calibration clips." in caplog.text


class Answering:
    """Instead of an exported model, one with chosen logits."""

    name = "answering"

    def __init__(self, logits):
        self.logits = logits

    def predict_on_batch(self, x):
        return self.logits


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ([0, 1], "keeps 80.0% of the answers for 10 calibration clips. At least 90%"),
        ([9], "keeps 90.0% of the answers for 10 calibration clips, and the same"),
        ([8], None),
    ],
)
def test_what_changes_the_answers_is_refused(wrong, problem, caplog):
    """Here, only the last clip is of class 1, and a share of 90 % is no excuse."""
    logits = np.eye(2)[[0] * 9 + [1]]
    coarse = logits.copy()
    coarse[wrong] = coarse[wrong, ::-1]
    model = Answering(logits)
    model.stzoo = ModelConfig("c2d_tiny", classes=2)
    check = partial(exporting._check_int8, model, Answering(coarse))
    if problem is None:
        caplog.set_level("INFO")
        assert check(np.zeros(10)) == {"clips": 10, "agreement": 0.9}
        assert "int8 keeps 90.0% of the answers for 10 calibration" in caplog.text
    else:
        with pytest.raises(RuntimeError, match=f"int8 is too coarse.*{problem}"):
            check(np.zeros(10))


def test_an_export_that_is_refused_leaves_nothing(model, monkeypatch, tmp_path):
    """Its most probable class is the least probable one of the model."""

    def build(how, layout, source, path, *_):
        path.write_bytes(b"")

    opposite = Answering(-numpy(model(shades(model, 3))))
    monkeypatch.setattr(exporting, "_build", build)
    monkeypatch.setattr(exporting.runtime, "Exported", lambda *_: opposite)
    how = dict(precision="int8", calibration=shades(model, 3))
    with pytest.raises(RuntimeError, match="keeps 0.0% of the answers for 3 calib"):
        stzoo.export(model, tmp_path / "model.onnx", **how)
    assert list(tmp_path.iterdir()) == []


def test_the_same_answer_for_all_clips_is_fine_if_it_was_so_before():
    config = ModelConfig("c2d_tiny", classes=2)
    same = np.array([[1.0, 0.0]] * 3)
    assert agreement(same, 2 * same, config) == (1.0, False)
    assert agreement(same, same[:, ::-1], config) == (0.0, False)


def test_several_labels_are_compared_at_their_thresholds():
    """Labels that neither model gives do not count, or rare labels would be lost."""
    config = ModelConfig("c2d_tiny", classes=3)
    config = replace(config, multi_label=True, thresholds=(0.5, 0.9, 0.1))
    no = -9.0
    before = np.array([[1.0, 1.0, no], [no, 3.0, -1.0], [no, no, no]])
    after = np.array([[1.0, 3.0, no], [no, 3.0, no], [no, no, no]])
    # Both give label 0 to clip 0, and 1 to 1. One alone gives 1 to 0, and 2 to 1.
    assert agreement(before, after, config) == (0.5, False)
    nothing = np.full((3, 3), no)
    assert agreement(nothing, nothing, config) == (1.0, False)
    assert agreement(before, nothing, config) == (0.0, True)


def test_clips_are_spaced_over_the_videos(model, motion_folder):
    """A list of videos is often sorted by class."""
    videos = stzoo.read_videos(motion_folder)
    found = read_clips(videos, model)
    assert found.shape == (6, *model.input_shape[1:]) and found.dtype == "uint8"
    for source in (motion_folder, str(motion_folder), videos.paths):
        np.testing.assert_array_equal(read_clips(source, model), found)
    shape = (250, *model.input_shape[1:])
    many = np.arange(250, dtype="uint8").reshape(-1, 1, 1, 1, 1) * np.ones(shape, "u1")
    assert list(read_clips(many, model)[:, 0, 0, 0, 0][[0, 1, 2, -1]]) == [0, 2, 5, 247]
    assert len(read_clips(many, model)) == CLIPS


def test_a_damaged_video_of_a_calibration_set_is_skipped(
    model, motion_folder, tmp_path, caplog
):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    good = stzoo.read_videos(motion_folder).paths[0]
    found = read_clips([str(tmp_path / "bad.mp4"), good], model)
    np.testing.assert_array_equal(found, read_clips([good], model))
    assert "bad.mp4" in caplog.text
    for none in ([str(tmp_path / "bad.mp4")], []):
        with pytest.raises(ValueError, match="No video of the calibration set can be"):
            read_clips(none, model)


@pytest.mark.parametrize(
    ("calibration", "reason"),
    [
        (np.zeros((3, 2, 16, 32, 3), "uint8"), r"\('clips', 2, 32, 32, 3\), or videos"),
        (np.zeros((0, 2, 32, 32, 3), "uint8"), r"of shape \(0, 2"),
        (np.zeros((2, 32, 32, 3), "uint8"), r"of shape \(2, 32"),
        (np.full((1, 2, 32, 32, 3), 0.5), "from 0.5 to 0.5"),
        (np.full((1, 2, 32, 32, 3), np.nan), "from nan to nan"),
        (np.full((1, 2, 32, 32, 3), -1), "values from -1 to -1"),
        (np.full((1, 2, 32, 32, 3), "a"), "an array of <U1"),
        (100, "calibration must be the videos of.*Received: 100"),
    ],
)
def test_bad_clips_are_refused(model, calibration, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        stzoo.export(
            *(model, tmp_path / "model.onnx"), precision="int8", calibration=calibration
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "dtype", "is_right"),
    [
        *((0, "uint8", True), (255, "int64", True), (256, "int64", False)),
        *((0.0, "float32", False), (1.0, "float32", False), (1.5, "float32", True)),
        *((255.0, "float32", True), (255.5, "float32", False)),
        *((-0.5, "float32", False), (True, "bool", False)),
    ],
)
def test_values_of_clips_are_those_of_pixels(model, value, dtype, is_right):
    found = np.full((1, *model.input_shape[1:]), value, dtype)
    if is_right:
        np.testing.assert_array_equal(read_clips(found, model), found)
    else:
        with pytest.raises(ValueError, match="have values of 0 to 255. Received"):
            read_clips(found, model)


def chain(*kinds):
    """An output of OpenVINO that operations of these kinds read, in a chain."""
    if not kinds:
        return SimpleNamespace(get_target_inputs=set)
    node = SimpleNamespace(
        get_type_name=lambda: kinds[0],
        get_friendly_name=lambda: kinds[0].lower(),
        output=lambda _: chain(*kinds[1:]),
    )
    consumer = SimpleNamespace(get_node=lambda: node)
    return SimpleNamespace(get_target_inputs=lambda: [consumer])


@pytest.mark.parametrize("attention", [False, True])
def test_what_nncf_is_told(attention, monkeypatch):
    """It would take only 300 of the batches and quantize the input before it is
    normalised, it treats transformers in another way, and it would use the whole range
    of weights.
    """
    nncf = SimpleNamespace(
        quantize=lambda model, data, **how: (model, data, how),
        Dataset=lambda batches, function: [*map(function, batches)],
        ModelType=SimpleNamespace(TRANSFORMER="transformer"),
        IgnoredScope=lambda names: names,
        AdvancedQuantizationParameters=dict,
        OverflowFix=SimpleNamespace(ENABLE="half of the range"),
    )
    monkeypatch.setitem(sys.modules, "nncf", nncf)
    batches = Batches(np.arange(5, dtype="uint8"), 2)
    output = chain("Reshape", "Subtract", "Divide", "Convolution", "Add")
    model = SimpleNamespace(input={"clip": output}.get)
    found, data, how = quantize_openvino(model, "clip", batches, attention)
    assert (found, len(data)) == (model, 3)
    assert [list(one["clip"]) for one in data] == [[0, 1], [2, 3], [4, 0]]
    expected = "transformer" if attention else None
    assert how.pop("ignored_scope") == ["reshape", "subtract", "divide"]
    assert how.pop("advanced_parameters") == {"overflow_fix": "half of the range"}
    assert how == {"subset_size": 3, "model_type": expected}


def test_what_litert_is_told(monkeypatch):
    lite = SimpleNamespace(Optimize=SimpleNamespace(DEFAULT="default"))
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(lite=lite))
    converter = SimpleNamespace()
    quantize_litert(converter, Batches(np.arange(3, dtype="uint8"), 2))
    assert converter.optimizations == ["default"]
    for _ in range(2):  # it can be read again
        found = [list(batch) for (batch,) in converter.representative_dataset()]
        assert found == [[0, 1], [2, 0]]


def test_batches_are_full():
    batches = Batches(np.arange(5, dtype="uint8"), 2)
    assert [list(batch) for batch in batches] == [[0, 1], [2, 3], [4, 0]]
    assert len(batches) == 3 and next(iter(batches)).dtype == "float32"


def test_weights_of_onnx_have_a_scale_for_each_channel(tmp_path):
    kernel = np.array([[0.5, 1], [-1, 2]], "float32")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "kernel"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    opset = helper.make_opsetid("", OPSET)
    path = str(tmp_path / "model.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    x = np.random.default_rng(0).uniform(0, 255, (6, 2)).astype("float32")
    quantize_onnx(path, "x", Batches(x, 2))
    (found,) = InferenceSession(path).run(None, {"x": x[:2]})
    expected = x[:2] @ kernel
    assert 1e-4 < np.abs(found - expected).max() / np.abs(expected).max() < 0.02
    values = {
        one.name: numpy_helper.to_array(one)
        for one in onnx.load(path).graph.initializer
    }
    assert values["kernel_quantized"].dtype == "int8"
    assert np.abs(values["kernel_quantized"]).max(0).tolist() == [64, 64], (
        "half of 8 bits"
    )
    assert values["kernel_scale"].shape == (2,), "one for each channel"
    assert values["x_zero_point"].dtype == "uint8", "int8 is slower there"


def test_nncf_is_named_when_it_is_missing(monkeypatch):
    find = formats.find_spec
    monkeypatch.setattr(formats, "find_spec", lambda n: n != "nncf" and find(n))
    formats.check_builders(FORMATS["onnx"], "int8")
    with pytest.raises(ImportError, match=r'needs nncf.*"stzoo\[openvino,int8\]"'):
        formats.check_builders(FORMATS["openvino"], "int8")


def test_the_command_takes_a_folder_of_videos(
    model, monkeypatch, motion_folder, tmp_path
):
    asked = []

    def export(model, file, *rest):
        asked.append(rest)
        logging.getLogger("stzoo").info("int8 keeps 97.0%")
        return file.parent

    monkeypatch.setattr(stzoo, "export", export)
    stzoo.save(model, tmp_path / "saved")
    command = ["export", str(tmp_path / "saved"), str(tmp_path / "model.onnx")]
    int8, data = ["--precision", "int8"], ["--calibration", str(motion_folder)]
    done = CliRunner().invoke(main, [*command, *int8, *data])
    assert done.exit_code == 0, done.output
    assert "int8 keeps 97.0%" in done.stderr
    assert asked == [(None, "int8", None, str(motion_folder), False)]
    for half in (int8, data):
        done = CliRunner().invoke(main, [*command, *half])
        assert done.exit_code == 2
        assert "--precision int8 needs --calibration DATA" in done.output
