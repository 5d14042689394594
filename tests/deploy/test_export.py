"""An exported model answers like the model, by its own runtime, without Keras."""

import dataclasses
import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from deploy.test_fusion import FAMILIES, build
from harness import close, numpy, precision

import stzoo
from stzoo.cli import main
from stzoo.data import motions
from stzoo.deploy import export as exporting
from stzoo.deploy import formats, runtime
from stzoo.deploy.formats import FORMATS

LABELS = ("rising", "shaking")
FRAMEWORKS = {"keras", "tensorflow", "torch", "jax"}
FILES = {
    "onnx": {"model.onnx"},
    "openvino": {"model.xml", "model.bin"},
    "litert": {"model.tflite"},
    "torch": {"model.pt2"},
    "tf_saved_model": {
        *("saved_model.pb", "fingerprint.pb"),
        *("variables/variables.index", "variables/variables.data-00000-of-00001"),
    },
}


def small(name, options, frames=3):
    model = build(name, options | {"classes": 2}, frames)
    model.stzoo = dataclasses.replace(model.stzoo, labels=LABELS, tag="mine")
    return model


@pytest.fixture(scope="module")
def model():
    """A small network with random batch norms, some of them in gates."""
    return small("gsm_tiny", {"width": 4, "depth": 1})


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """An export of the model to ONNX."""
    return stzoo.export(model, tmp_path_factory.mktemp("deploy") / "model.onnx")


@pytest.fixture
def copied(folder, monkeypatch):
    """Instead of building a graph, `stzoo.export` takes that of the model."""

    def copy(how, layout, source, path, *_):
        shutil.copy(folder / "model.onnx", path)

    monkeypatch.setattr(exporting, "_build", copy)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "rising.mp4"
    frames, _, _ = motions.render(0, "rising")
    motions.save(path, frames)
    return path


def clips(model, count):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(2).integers(0, 256, shape).astype("uint8")


def run(*arguments, returncode=0):
    """Runs Python in another process, and returns what it printed."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == returncode, done.stderr
    return done.stdout


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def check(exported, model, counts=(1, 3), tolerance=1e-4):
    features = keras.Model(model.input, model.get_layer("avgpool").output)
    network, width = exported.with_output("avgpool")
    assert width == features.output.shape[-1]
    for count in counts:
        x = clips(model, count)
        close(exported.predict_on_batch(x), numpy(model(x)), tolerance)
        close(exported(x.astype("float32")), numpy(model(x)), tolerance)
        close(network.predict_on_batch(x), numpy(features(x)), tolerance)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name != "onnx" else ())
        for name in FORMATS
    ],
)
def test_an_export_answers_like_the_model_for_any_number_of_clips(
    name, model, folder, tmp_path
):
    if name != "onnx":
        path = tmp_path / "made" / f"model{FORMATS[name].suffix}"
        folder = stzoo.export(model, path if path.suffix else path.parent)
    assert set(contents(folder)) == FILES[name] | {"config.json", "example.py"}
    exported = stzoo.load(folder)
    assert exported.stzoo.export["format"] == name
    check(exported, model)
    assert exported.package in {package for _, package in FORMATS[name].runtimes}


def test_the_first_number_of_clips_has_a_graph_of_its_own():
    opened = []

    def open_graph(batch):
        opened.append(batch)
        return lambda inputs: (batch, len(inputs["clip"]))

    run = runtime._with_fixed_batch(open_graph)
    answers = [run({"clip": np.zeros((count, 1))}) for count in (2, 3, 2, 1)]
    assert answers == [(2, 2), (None, 3), (2, 2), (None, 1)]
    assert opened == [2, None]


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_every_family_exports_to_every_format(family, name, tmp_path):
    model = build(*family[:3])
    suffix = FORMATS[name].suffix
    folder = stzoo.export(model, tmp_path / f"made{suffix}" if suffix else tmp_path)
    exported = stzoo.load(folder)
    for count in (1, 3):
        x = clips(model, count)
        close(exported.predict_on_batch(x), numpy(model(x)), 1e-4)


@pytest.mark.slow
def test_litert_needs_no_operation_of_tensorflow(tmp_path):
    """A 3x3x3 kernel, and pools of frames and of time, are of images there."""
    model = small("c3d_tiny", {"width": 4, "depths": (1, 2, 1, 1)}, 4)
    folder = stzoo.export(model, tmp_path / "model.tflite", batch=2)
    data = (folder / "model.tflite").read_bytes()
    assert b"Flex" not in data
    exported = stzoo.load(folder)
    assert exported.stzoo.export["input"]["shape"][0] == 2
    check(exported, model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["openvino", "litert"])
def test_float16_halves_the_file(name, tmp_path):
    model = small("c2d_tiny", {"width": 16, "depths": (1, 1, 1, 1)}, 2)
    sizes = []
    for kind in ("float32", "float16"):
        path = tmp_path / kind / f"model{FORMATS[name].suffix}"
        folder = stzoo.export(model, path, precision=kind)
        sizes.append(sum(len(contents(folder)[one]) for one in FILES[name]))
        check(stzoo.load(folder), model, tolerance=2e-2)
    assert sizes[1] < 0.6 * sizes[0]


def test_the_record_says_what_the_model_was_and_what_the_file_is(model, folder):
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert stzoo.load(folder).stzoo.labels == LABELS
    assert (config["builder"], config["tag"]) == ("gsm_tiny", "mine")
    clip = dict(name="clip", dtype="float32", shape=[None, 3, 32, 32, 3])
    data = (folder / "model.onnx").read_bytes()
    assert config["export"] == {
        "format": "onnx",
        "file": "model.onnx",
        "precision": "float32",
        "input": clip | {"range": [0, 255]},
        "outputs": {
            "logits": 2,
            "avgpool": model.get_layer("avgpool").output.shape[-1],
        },
        "files": {"model.onnx": hashlib.sha256(data).hexdigest()},
    }


def test_the_model_is_not_changed(model, copied, tmp_path):
    before = [numpy(weight) for weight in model.weights]
    stzoo.export(model, tmp_path / "model.onnx")
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(numpy(weight), value)


def test_a_fused_model_and_one_of_another_precision_export(model, copied, tmp_path):
    stzoo.export(stzoo.fuse(model), tmp_path / "one" / "model.onnx")
    with precision("mixed_bfloat16"):
        half = small("gsm_tiny", {"width": 4, "depth": 1})
        stzoo.export(half, tmp_path / "other" / "model.onnx")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    check(stzoo.load(tmp_path / "other"), model)


def test_predict_evaluate_and_extract_take_an_export(
    model, folder, motion_folder, tmp_path
):
    videos = stzoo.read_videos(motion_folder)
    exported = stzoo.load(folder)
    answers = []
    for one in (model, exported):
        predicted = stzoo.predict(one, videos.paths[0], views="2x3")
        measured = stzoo.evaluate(one, videos, views="2x1")
        parts = tmp_path / type(one).__name__
        stzoo.extract(one, videos, parts)
        with np.load(parts / "part-000000.npz") as part:
            features = part["features"]
        answers.append((predicted, measured, features))
    (predicted, measured, features), (other, again, same) = answers
    assert [label for label, _ in other] == [label for label, _ in predicted]
    close([share for _, share in other], [share for _, share in predicted], 1e-4)
    close(same, features, 1e-4)
    assert again.model == measured.model == "gsm_tiny.mine"
    assert again.top1 == measured.top1
    assert again.backend == "onnxruntime"
    assert set(again.versions) == {"stzoo", "onnxruntime", "numpy"}
    assert measured.backend == keras.backend.backend()
    assert set(measured.versions) == {"stzoo", "keras", "numpy"}


def test_an_export_answers_without_keras(model, folder, video):
    code = """
import sys
import stzoo
model = stzoo.load(sys.argv[1])
print(stzoo.predict(model, sys.argv[2]))
from click.testing import CliRunner
from stzoo.cli import main
codes = [
    int(
        CliRunner()
        .invoke(main, [command, sys.argv[2], "--model", sys.argv[1]])
        .exit_code
    )
    for command in ("predict", "stream")
]
print(codes, sorted(set(sys.argv[3:]) & set(sys.modules)))
"""
    *answer, last = run("-c", code, folder, video, *FRAMEWORKS).splitlines()
    assert last == "[0, 0] []"
    found, expected = eval(answer[0]), stzoo.predict(model, video)
    assert [label for label, _ in found] == [label for label, _ in expected]
    close([share for _, share in found], [share for _, share in expected], 1e-4)


@pytest.mark.parametrize(
    "changes",
    [{}, {"sampling": "segments"}, {"sample_fps": 10.0}, {"stride": 9}],
    ids=str,
)
def test_the_example_answers_without_stzoo(model, copied, changes, video, tmp_path):
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    clip = dataclasses.replace(model.stzoo.clip, **changes)
    other.stzoo = dataclasses.replace(model.stzoo, clip=clip)
    folder = stzoo.export(other, tmp_path / "model.onnx")
    text = (folder / "example.py").read_text("utf-8")
    assert "keras" not in text and "import stzoo" not in text
    lines = [line for line in text.splitlines() if line.strip()]
    assert max(map(len, lines)) <= 88
    assert len(lines) <= 36
    found = dict(
        line.split(": ") for line in run(folder / "example.py", video).splitlines()
    )
    expected = dict(stzoo.predict(other, video))
    assert list(found) == list(expected)
    for label, share in expected.items():
        assert abs(float(found[label]) - share) < 0.02


def test_an_export_of_several_labels_answers_by_their_thresholds(
    model, copied, video, tmp_path
):
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    several = dataclasses.replace(model.stzoo, multi_label=True)
    other.stzoo = several
    shares = dict(stzoo.predict(other, video, threshold=0))
    names = other.stzoo.class_names
    kept = max(shares, key=shares.get)
    least = tuple(shares[n] - 0.05 if n == kept else 1.0 for n in names)
    other.stzoo = dataclasses.replace(several, thresholds=least)
    folder = stzoo.export(other, tmp_path / "model.onnx")
    exported = stzoo.load(folder)
    assert exported.stzoo.multi_label and exported.stzoo.thresholds == least
    ((label, share),) = stzoo.predict(exported, video)
    assert label == kept and share == pytest.approx(shares[kept], abs=1e-4)
    (line,) = run(folder / "example.py", video).splitlines()
    label, _, share = line.partition(": ")
    assert label == kept and abs(float(share) - shares[kept]) < 0.02


@pytest.mark.parametrize("labels", [LABELS, ()])
def test_the_example_of_several_labels_without_thresholds(
    labels, model, copied, video, tmp_path
):
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    other.stzoo = dataclasses.replace(model.stzoo, multi_label=True, labels=labels)
    folder = stzoo.export(other, tmp_path / "model.onnx")
    lines = run(folder / "example.py", video).splitlines()
    shares = stzoo.predict(other, video, threshold=0)
    sure = [name for name, share in shares if share > 0.52]  # the clips differ slightly
    found = [line.split(":")[0] for line in lines]
    assert set(sure) <= set(found) <= {n for n, share in shares if share > 0.48}


@pytest.mark.slow
def test_the_example_of_a_network_of_flow_reads_an_array(tmp_path):
    model = build("stpn_tiny", {"width": 4, "length": 2, "dim": 32}, 6)
    folder = stzoo.export(model, tmp_path / "model.xml")
    x = clips(model, 1)
    np.save(tmp_path / "clip.npy", x[0])
    first = run(folder / "example.py", tmp_path / "clip.npy").splitlines()[0]
    assert first.split(":")[0] == f"class {numpy(model(x)).argmax()}"


def test_other_answers_are_an_error_that_leaves_nothing(model, copied, tmp_path):
    other = keras.models.clone_model(model)
    other.set_weights([weight * 1.001 for weight in model.get_weights()])
    with pytest.raises(RuntimeError, match="not written, since onnxruntime answers"):
        stzoo.export(other, tmp_path / "new" / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    stzoo.export(model, tmp_path / "model.onnx")
    before = contents(tmp_path)
    with pytest.raises(RuntimeError, match="differ by .*e-0"):
        stzoo.export(other, tmp_path / "model.onnx")
    assert contents(tmp_path) == before


def test_a_graph_that_cannot_be_built_is_an_error_that_leaves_nothing(
    model, monkeypatch, tmp_path
):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(RuntimeError, match="to onnx failed, and nothing was written"):
        stzoo.export(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("_build", marks=pytest.mark.slow),
        pytest.param("_check_answers", marks=pytest.mark.slow),
        "writer.os.fsync",
    ],
)
def test_a_killed_export_leaves_no_model(moment, tmp_path):
    code = f"""
import os, signal, sys
import stzoo
from stzoo.deploy import export, runtime
model = stzoo.tsm_tiny(width=4, depth=1, input_shape=(2, 32, 32, 3))
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
export._build = lambda how, layout, source, path, *_: path.write_bytes(b"half")
export._check_answers = lambda *_: None
runtime.Exported = lambda *_: None
export.{moment} = kill
stzoo.export(model, sys.argv[1])
"""
    run("-c", code, tmp_path / "model.onnx", returncode=-signal.SIGKILL)
    assert not (tmp_path / "model.onnx").exists()
    with pytest.raises(FileNotFoundError):
        stzoo.load(tmp_path)


def test_an_export_replaces_the_same_export_only(model, copied, tmp_path):
    folder = stzoo.export(model, tmp_path / "model.onnx")
    (folder / "config.json").write_text(
        (folder / "config.json").read_text("utf-8").replace("mine", "old")
    )
    assert stzoo.load(folder).stzoo.tag == "old"
    stzoo.export(model, tmp_path / "model.onnx")
    assert stzoo.load(folder).stzoo.tag == "mine"
    before = contents(tmp_path)
    for other in ("other.onnx", "model.xml"):
        with pytest.raises(ValueError, match="already holds an export to model.onnx"):
            stzoo.export(model, tmp_path / other)
    with pytest.raises(ValueError, match="already holds an export to model.onnx"):
        stzoo.export(model, tmp_path, format="tf_saved_model")
    assert contents(tmp_path) == before


def test_files_of_something_else_are_not_overwritten(model, copied, tmp_path):
    stzoo.save(model, tmp_path / "saved")
    for name in ("model.onnx", "example.py"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("mine")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    for path, format, reason in (
        ("saved/model.onnx", None, "already holds config.json"),
        ("model.onnx/model.onnx", None, "already holds model.onnx"),
        ("example.py/model.onnx", None, "already holds example.py"),
        ("notes", None, "already holds other files"),
        ("notes/notes.txt/model.onnx", None, "is a file"),
        ("notes/notes.txt", "tf_saved_model", "is a file"),
    ):
        with pytest.raises(ValueError, match=reason):
            stzoo.export(model, tmp_path / path, format)
    assert contents(tmp_path) == before
    # Beside other files, there is room.
    stzoo.export(model, tmp_path / "notes" / "model.onnx")
    assert (tmp_path / "notes" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "options", "reason"),
    [
        ("model.h5", {}, "The ending of model.h5 names no format. Endings are: .onnx"),
        ("model.xml", {"format": "onnx"}, "ends in .onnx. Received: model.xml"),
        ("model.onnx", {"format": "tensorrt"}, "format must be one of onnx, openvino"),
        (
            "model.onnx",
            {"precision": "float16"},
            "of onnx must be float32 or int8. Received",
        ),
        ("model.xml", {"precision": "int4"}, "float16 or int8. Received: 'int4'"),
        ("model.pt2", {"precision": "int8"}, "torch must be float32. Received: 'int8'"),
        ("model.onnx", {"precision": "int8"}, 'int8" needs calibration=.*=None'),
        ("model.onnx", {"calibration": "videos"}, "no other precision takes it"),
        ("model.onnx", {"batch": 0}, "batch must be an integer, at least 1, or None"),
        ("model.onnx", {"batch": True}, "batch must be an integer, at least 1"),
    ],
)
def test_bad_arguments_are_refused(model, path, options, reason):
    with pytest.raises(ValueError, match=reason):
        stzoo.export(model, path, **options)


def test_bad_models_are_refused(model, folder, tmp_path):
    path = tmp_path / "model.onnx"
    features = keras.Model(model.input, model.get_layer("avgpool").output)
    with pytest.raises(ValueError, match="Only a model from a builder of stzoo"):
        stzoo.export(features, path)
    for function in (stzoo.export, stzoo.save):
        with pytest.raises(ValueError, match="exported"):
            function(stzoo.load(folder), path)
    with pytest.raises(ValueError, match="exported"):
        stzoo.fuse(stzoo.load(folder))
    anysize = stzoo.tsm_tiny(width=4, depth=1, input_shape=(3, None, None, 3))
    with pytest.raises(ValueError, match="one size of clips.*input_shape="):
        stzoo.export(anysize, path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "torch"])
def test_a_missing_library_is_an_error_that_names_the_extra(
    model, monkeypatch, missing, tmp_path
):
    find = formats.find_spec
    monkeypatch.setattr(
        formats, "find_spec", lambda name: None if name == missing else find(name)
    )
    reason = rf'needs {missing}, which is not installed.*"stzoo\[onnx\]"'
    with pytest.raises(ImportError, match=reason):
        stzoo.export(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_not_run_by_what_is_missing(folder, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="To run onnx needs onnxruntime"):
        stzoo.load(folder)


def test_damage_is_found(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "cut")
    data = (folder / "model.onnx").read_bytes()
    (tmp_path / "cut" / "model.onnx").write_bytes(data[:-1])
    with pytest.raises(ValueError, match="model.onnx is damaged or of another export"):
        stzoo.load(tmp_path / "cut")
    (tmp_path / "cut" / "model.onnx").unlink()
    with pytest.raises(FileNotFoundError, match="model.onnx is missing"):
        stzoo.load(tmp_path / "cut")


@pytest.mark.parametrize(
    ("entry", "value", "reason"),
    [
        ("format", "tensorrt", "the format is 'tensorrt', which is none of onnx"),
        ("format", ["onnx"], '"export" needs "format", a str'),
        ("file", "../model.onnx", "a file is outside of the folder"),
        ("files", {"/etc/passwd": "0"}, "a file is outside of the folder"),
        ("files", {}, '"files" a file'),
        ("outputs", {"avgpool": 3}, '"outputs" needs "logits"'),
        ("input", {"shape": [None, 3]}, 'needs a "shape" of five'),
    ],
)
def test_a_record_of_nonsense_is_refused(folder, tmp_path, entry, value, reason):
    shutil.copytree(folder, tmp_path / "odd")
    path = tmp_path / "odd" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["export"][entry] = value
    path.write_text(json.dumps(config), "utf-8")
    with pytest.raises(
        ValueError, match="does not describe an exported model"
    ) as error:
        stzoo.load(tmp_path / "odd")
    assert reason in str(error.value)


def test_an_export_is_only_asked_for_answers(folder):
    exported = stzoo.load(folder)
    for options in ({"classes": 3}, {"input_shape": (3, 40, 40, 3)}, {"name": "new"}):
        with pytest.raises(ValueError, match="exported model, which is fixed"):
            stzoo.load(folder, **options)
    with pytest.raises(ValueError, match="has no layer 'layer4'. It has: avgpool"):
        exported.with_output("layer4")
    with pytest.raises(ValueError, match=r"takes clips \('clips', 3, 32, 32, 3\)"):
        exported.predict_on_batch(np.zeros((1, 3, 40, 32, 3), "uint8"))
    with pytest.raises(
        runtime.MissingInExport, match="no `get_layer`: it only answers"
    ):
        exported.get_layer("avgpool")
    assert getattr(exported, "optimizer", None) is None
    copy = pickle.loads(pickle.dumps(exported))
    x = np.full((2, 3, 32, 32, 3), 7, "uint8")
    np.testing.assert_array_equal(copy(x), exported(x))


def test_the_command_exports(copied, model, tmp_path, monkeypatch):
    stzoo.save(model, tmp_path / "saved", tag="mine")
    arguments = [
        "export",
        str(tmp_path / "saved"),
        str(tmp_path / "new" / "model.onnx"),
    ]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("Exported gsm_tiny.mine to ")
    assert stzoo.load(tmp_path / "new").stzoo.labels == LABELS
    done = CliRunner().invoke(main, [*arguments[:2], "model.doc"])
    assert done.exit_code == 1
    assert done.output.startswith("Error: The ending of model.doc names no format.")


def test_the_command_reports_other_answers_in_one_line(copied, model, tmp_path):
    other = keras.models.clone_model(model)
    other.set_weights([weight * 1.001 for weight in model.get_weights()])
    stzoo.save(other, tmp_path / "saved")
    done = CliRunner().invoke(
        main, ["export", str(tmp_path / "saved"), str(tmp_path / "new" / "model.onnx")]
    )
    assert done.exit_code == 1
    assert done.output.startswith(
        "Error: The export was not written, since onnxruntime"
    )
