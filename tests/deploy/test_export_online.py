"""An export that takes frames one by one answers like the model."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from harness import close
from inference.test_online import build, film, vary

import stzoo
from stzoo.cli import main
from stzoo.data import motions
from stzoo.deploy.formats import FORMATS
from stzoo.deploy.runtime import read_export


@pytest.fixture(scope="module")
def model():
    model = build(frames=3)
    vary(model)
    return model


def exported_to(folder, model, format):
    return stzoo.export(model, folder / f"model{FORMATS[format].suffix}", online=True)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return exported_to(tmp_path_factory.mktemp("deploy"), model, "onnx")


@pytest.mark.parametrize(
    "format",
    [
        pytest.param(name, marks=pytest.mark.slow if name != "onnx" else ())
        for name in FORMATS
    ],
)
def test_each_frame_has_the_answer_of_the_model(format, model, tmp_path):
    exported = stzoo.load(exported_to(tmp_path, model, format))
    assert len(exported.states) == 3
    frames = film(6, 64, 64)
    found, expected = stzoo.online(exported), stzoo.online(model)
    for frame in frames:
        close(found.step(frame), expected.step(frame), 1e-4)
        close(found.probabilities, expected.probabilities, 1e-4)
    first = stzoo.online(model).step(frames[0])
    found.reset()
    close(found.step(frames[0]), first, 1e-4)
    clips = frames.reshape(2, 3, 64, 64, 3)
    close(exported.predict_on_batch(clips), model.predict_on_batch(clips), 1e-4)
    close(exported(frames[None]), mean_of(model, frames), 1e-4)


def mean_of(model, frames):
    """Returns the logits of a model for a clip of any length, from its frames."""
    online = stzoo.online(model)
    return np.mean([online.step(frame) for frame in frames], axis=0)[None]


def test_a_stream_and_the_example_need_no_keras(folder, model, tmp_path):
    path = tmp_path / "film.mp4"
    motions.save(path, motions.render(0, "rising")[0])
    code = f"""
import sys, stzoo
for window in stzoo.stream(stzoo.load({str(folder)!r}), {str(path)!r}, every=0.5):
    print(window.end, *window.probabilities)
assert not {{"keras", "tensorflow", "torch", "jax"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows, done.stderr
    expected = list(stzoo.stream(model, path, every=0.5))
    close([float(row[0]) for row in rows], [window.end for window in expected])
    found = [[float(value) for value in row[1:]] for row in rows]
    close(found, [window.probabilities for window in expected], 1e-4)

    command = [sys.executable, "-W", "error", folder / "example.py", path]
    done = subprocess.run(command, capture_output=True, text=True)
    shown = [line.split(": ") for line in done.stdout.splitlines()]
    answers = stzoo.predict(model, path)
    assert [label for label, _ in shown] == [label for label, _ in answers], done.stderr
    close([float(share) for _, share in shown], [share for _, share in answers], 1e-3)


def test_what_cannot_be_exported_online(folder, model, tmp_path):
    file = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match="also looks at later frames"):
        stzoo.export(build(shift="offline"), file, online=True)
    with pytest.raises(ValueError, match="one frame at a time, .* batch=2"):
        stzoo.export(model, file, batch=2, online=True)
    clips = np.zeros((1, 3, 64, 64, 3), "uint8")
    with pytest.raises(ValueError, match="one frame at a time, .*'int8'"):
        stzoo.export(model, file, precision="int8", calibration=clips, online=True)
    assert not file.exists()
    exported = stzoo.load(folder)
    with pytest.raises(ValueError, match=r"takes clips \('clips', 'frames', 64, 64, 3"):
        exported(clips[..., 0])
    with pytest.raises(ValueError, match="takes clips"):
        exported(clips[:, :0])
    with pytest.raises(ValueError, match="which has no layer 'avgpool'"):
        exported.with_output("avgpool")
    config = (folder / "config.json").read_text()
    states = json.loads(config)["export"]
    for wrong in ({}, [1], {"state_0": "large"}):
        states["states"] = wrong
        changed = json.loads(config) | {"export": states}
        (tmp_path / "config.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match='"states" must have shapes'):
            read_export(tmp_path)


def test_the_command(tmp_path):
    result = CliRunner().invoke(
        main,
        ["export", "tsm_tiny.motions", str(tmp_path / "model.onnx"), "--online"],
    )
    assert result.exit_code == 0, result.output
    assert len(stzoo.load(tmp_path).states) == 10
