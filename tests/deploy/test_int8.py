"""Exports to int8: smaller, and their answers are close to those of the model."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from deploy.test_export import clips, contents, small

import stzoo
from stzoo.cli import main
from stzoo.deploy import export as exporting
from stzoo.deploy import formats
from stzoo.deploy.calibration import CLIPS, read_clips
from stzoo.deploy.formats import FORMATS
from stzoo.deploy.quantization import Batches

ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}


@pytest.fixture(scope="module")
def model():
    return small("c2d_tiny", {"width": 16, "depths": (1, 1, 1, 1)}, 2)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name != "onnx" else ())
        for name in ENDINGS
    ],
)
def test_int8_is_small_and_answers_alike(name, model, tmp_path):
    x = clips(model, 5)
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
    found, expected = exported.predict_on_batch(x), np.asarray(model(x))
    difference = np.sqrt(np.mean((found - expected) ** 2))
    difference /= np.abs(expected).max()
    assert 1e-4 < difference < 0.2, "1e-4 is what float32 has"
    record = json.loads(files["config.json"])["export"]
    assert record["precision"] == exported.stzoo.export["precision"] == "int8"
    assert record["calibration"]["clips"] == 5
    assert record["calibration"]["difference"] == pytest.approx(difference, abs=1e-4)
    same = np.mean(found.argmax(-1) == expected.argmax(-1))
    assert record["calibration"]["same_class"] == pytest.approx(same, abs=1e-4)


def test_other_answers_are_an_error_that_leaves_nothing(model, monkeypatch, tmp_path):
    """The most probable class is the least probable one of the model."""

    def build(how, layout, source, path, *_):
        stzoo.save(model, path.parent / "saved")
        path.write_bytes(b"")

    class Opposite:
        name, stzoo = "opposite", None

        def __init__(self, folder, config):
            self.stzoo = config

        def predict_on_batch(self, x):
            return -np.asarray(model(x))

    monkeypatch.setattr(exporting, "_build", build)
    monkeypatch.setattr(exporting.runtime, "Exported", Opposite)
    how = dict(precision="int8", calibration=clips(model, 3))
    with pytest.raises(
        RuntimeError, match="not written, since int8 is too coarse.* 3 clips.* 0% have"
    ):
        stzoo.export(model, tmp_path / "model.onnx", **how)
    assert list(tmp_path.iterdir()) == []


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


def test_batches_are_full():
    batches = Batches(np.arange(5, dtype="uint8"), 2)
    assert [list(batch) for batch in batches] == [[0, 1], [2, 3], [4, 0]]
    assert len(batches) == 3 and next(iter(batches)).dtype == "float32"


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
    monkeypatch.setattr(
        stzoo, "export", lambda model, file, *rest: asked.append(rest) or file.parent
    )
    stzoo.save(model, tmp_path / "saved")
    command = ["export", str(tmp_path / "saved"), str(tmp_path / "model.onnx")]
    int8, data = ["--precision", "int8"], ["--calibration", str(motion_folder)]
    done = CliRunner().invoke(main, [*command, *int8, *data])
    assert done.exit_code == 0, done.output
    assert asked == [(None, "int8", None, str(motion_folder))]
    for half in (int8, data):
        done = CliRunner().invoke(main, [*command, *half])
        assert done.exit_code == 2
        assert "--precision int8 needs --calibration DATA" in done.output
