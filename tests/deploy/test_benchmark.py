"""`stzoo benchmark`: each backend and runtime has a process, a row, or a problem."""

import itertools
import json
import os
import platform
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest
from click.testing import CliRunner
from deploy.test_export import small

import stzoo
from stzoo.cli import main
from stzoo.deploy import benchmark, formats, measure, process
from stzoo.deploy.benchmark import NAMES
from stzoo.deploy.runtime import Exported

BACKENDS = NAMES[:3]


@pytest.fixture(scope="module")
def model():
    return small("tsm_tiny", {"width": 4, "depth": 1}, 2)


@pytest.fixture
def saved(model, tmp_path):
    stzoo.save(model, tmp_path / "saved")
    return str(tmp_path / "saved")


@pytest.fixture
def planned(monkeypatch):
    """Instead of a process, a row that says what it would have measured."""
    asked = []

    def run(folder, name, how):
        asked.append((str(folder).rpartition("/")[2], name, how))
        numbers = dict(ms_per_clip=2.0, best_ms_per_clip=1.0, clips_per_s=500.0)
        rest = dict(first_answer_s=3.0, peak_mb=None)
        return [{"clips": batch} | numbers | rest for batch in how["batches"]]

    monkeypatch.setattr(benchmark, "_in_process", run)
    return asked


def invoke(*arguments):
    done = CliRunner().invoke(main, ["benchmark", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.slow
def test_a_row_of_a_process(model, saved):
    """The numbers of one process, whose backend is the one of this test."""
    how = dict(batches=[1, 2], seconds=0.0, threads=1)
    backend = keras.backend.backend()
    one, two = benchmark._rows(backend, "plain", lambda: saved, how)
    assert (one["clips"], two["clips"]) == (1, 2)
    for row in (one, two):
        assert (row["runs_on"], row["form"], row["calls"]) == (backend, "plain", 3)
        assert 0 < row["best_ms_per_clip"] <= row["ms_per_clip"]
        assert row["clips_per_s"] == pytest.approx(1e3 / row["ms_per_clip"])
        assert 50 < row["peak_mb"] < 16000
        # It includes the import of Keras.
        assert 0.5 < row["first_answer_s"] == one["first_answer_s"]
    assert one["peak_mb"] <= two["peak_mb"]


def test_times_are_of_single_calls_and_fill_the_seconds():
    calls = []
    times = measure._times(lambda: calls.append(sum(range(10**4))), 0.05)
    assert len(calls) == len(times) + 1, "the first call is not timed"
    assert len(times) > measure.LEAST and 0 < sum(times)


def test_the_numbers_of_a_row(monkeypatch):
    """The clock of this test goes on only in calls, by the given seconds."""
    clock = SimpleNamespace(now=100.0)
    clock.time = clock.perf_counter = lambda: clock.now
    # Each batch: the first answer, one that is not timed, and timed ones for 5 s.
    seconds, shapes = iter([1, 1, *(2, 4, 3), 1, 1, *(0.5, 1.5, 1, 1, 1)]), []

    def predict_on_batch(x):
        assert x.dtype == "uint8" and x.max() > 128
        shapes.append(x.shape)
        clock.now += next(seconds)

    clip = SimpleNamespace(shape=(2, 8, 8, 3))
    model = SimpleNamespace(
        stzoo=SimpleNamespace(clip=clip), predict_on_batch=predict_on_batch
    )
    monkeypatch.setattr(measure, "time", clock)
    monkeypatch.setattr(measure, "peak", lambda: 7.0)
    monkeypatch.setattr(stzoo, "load", lambda folder: folder == "saved" and model)
    rows = measure.measure("saved", [1, 2], 5.0, None, started=90.0)
    names = ("clips", "calls", "ms_per_clip", "best_ms_per_clip", "clips_per_s")
    found = [[row.pop(name) for name in names] for row in rows]
    assert found == [[1, 3, 3000, 2000, 1 / 3], [2, 5, 500, 250, 2]]
    assert rows == [{"first_answer_s": 11, "peak_mb": 7}] * 2
    assert shapes == [(1, 2, 8, 8, 3)] * 5 + [(2, 2, 8, 8, 3)] * 7


def test_three_calls_are_measured_at_least(monkeypatch):
    clock = SimpleNamespace(perf_counter=itertools.count().__next__)
    monkeypatch.setattr(measure, "time", clock)
    assert measure._times(lambda: None, 0) == [1, 1, 1]


def test_peak_memory_of_each_system(monkeypatch, tmp_path):
    if Path("/proc/self/status").exists():
        low, found, high = peak_of_linux(), measure.peak(), peak_of_linux()
        assert low <= 1024 * found <= high
    monkeypatch.setattr(measure, "Path", lambda path: tmp_path / "none")
    usage = SimpleNamespace(ru_maxrss=3 * 1024 * 1024)
    resource = SimpleNamespace(getrusage={"self": usage}.get, RUSAGE_SELF="self")
    monkeypatch.setitem(sys.modules, "resource", resource)
    assert measure.peak() == 3
    monkeypatch.setitem(sys.modules, "resource", None)
    assert measure.peak() is None


def peak_of_linux():
    """The most kB that were in memory at once."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.M)[1])


def test_a_module_is_run_with_the_path_of_this_process(monkeypatch):
    done = SimpleNamespace(returncode=0, stdout="answer", stderr="ValueError: no")
    asked = []
    monkeypatch.setattr(
        process.subprocess, "run", lambda *args, **kw: asked.append((*args, kw)) or done
    )
    monkeypatch.setattr(sys, "path", ["", "one", "two"])
    monkeypatch.setenv("MINE", "kept")
    assert process.run("module", "argument", KERAS_BACKEND="jax") == "answer"
    command, how = asked[0]
    assert command == [sys.executable, "-W", "ignore", "-m", "module", "argument"]
    assert how["capture_output"] and how["text"]
    env = how["env"]
    assert env["PYTHONPATH"] == f"one{os.pathsep}two"
    assert (env["MINE"], env["KERAS_BACKEND"]) == ("kept", "jax")
    done.returncode = 3
    for printed, message in [
        (
            "ValueError: one\n  a\nkeras.OtherError: two: a\n",
            "keras.OtherError: two: a",
        ),
        ("Exception: it\n~~~~", "Exception: it"),
        ("  ValueError: within a line", "exit code 3"),
        ("", "exit code 3"),
    ]:
        done.stderr = printed
        with pytest.raises(RuntimeError, match=f"^{message}$"):
            process.run("module", "argument")


def test_a_process_of_a_backend_is_told_its_name(monkeypatch):
    asked = []

    def run(module, request, **env):
        asked.append((module, json.loads(request), env))
        return "a word of a library\n[1, 2]\n"

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr(benchmark, "time", SimpleNamespace(time=lambda: 5.0))
    for name, env in (("jax", {"KERAS_BACKEND": "jax"}), ("onnxruntime", {})):
        assert benchmark._in_process(Path("a"), name, {"threads": 2}) == [1, 2]
        request = {"threads": 2, "folder": "a", "started": 5.0}
        assert asked.pop() == ("stzoo.deploy.measure", request, env)


def test_an_export_has_the_rows_of_its_runtime(planned):
    export = Exported.__new__(Exported)
    export.folder, export.package = Path("deploy"), "onnxruntime"
    export.stzoo = SimpleNamespace(
        clip=SimpleNamespace(shape=(2, 8, 8, 3)), export={"precision": "int8"}
    )
    rows = benchmark.benchmark(export, (), (), 4, 2.0, None)
    assert [(r["runs_on"], r["form"], r["clips"]) for r in rows] == [
        ("onnxruntime", "int8", 1),
        ("onnxruntime", "int8", 4),
    ]
    how = {"batches": [1, 4], "seconds": 2.0, "threads": None}
    assert planned == [("deploy", "onnxruntime", how)]


def test_the_name_of_the_processor(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text("a : 1\nmodel name\t: Fast 9\nmodel name\t: b\n")
    monkeypatch.setattr(benchmark, "Path", lambda path: tmp_path / Path(path).name)
    assert benchmark.processor() == "Fast 9"
    (tmp_path / "cpuinfo").unlink()
    for name, expected in (("arm", "arm"), ("", platform.machine())):
        monkeypatch.setattr(platform, "processor", lambda name=name: name)
        assert benchmark.processor() == expected


def test_cores_cannot_be_chosen_on_each_system(model, monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(ValueError, match="--threads is not available on Darwin"):
        benchmark.benchmark(model, ("torch",), (), 1, 0.0, 1)


def test_threads_are_cores_and_are_chosen_before_a_library_counts_them(monkeypatch):
    done = []

    def choose(pid, cores):
        done.append((pid, cores))

    monkeypatch.setattr(os, "sched_getaffinity", {0: {5, 3, 4}}.get, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", choose, raising=False)
    monkeypatch.setattr(stzoo, "load", done.append)
    for threads in (2, None):
        assert measure.measure("saved", [], 0.0, threads, 0.0) == []
    assert done == [(0, [3, 4]), "saved", "saved"]


def test_everything_that_is_installed_has_a_row(saved, planned, monkeypatch):
    found = []
    monkeypatch.setattr(
        "stzoo.deploy.export.write_export",
        lambda model, folder, file, how, clips, check: found.append(
            (file, how[1], clips is None, check)
        ),
    )
    monkeypatch.setattr(formats, "find_spec", lambda name: name != "nncf")
    monkeypatch.setattr(
        benchmark._environment, "is_installed", lambda name: name != "jax"
    )
    text = invoke(saved, "--precision", "int8", "--json", "--batch", "4")
    answer = json.loads(text)
    assert answer["model"] == "tsm_tiny" and answer["clip"] == [2, 32, 32, 3]
    assert answer["processor"] == benchmark.processor() != ""
    rows = [(r["runs_on"], r["form"], r.get("clips")) for r in answer["rows"]]
    forms = [(name, form) for name in BACKENDS for form in ("plain", "fused")]
    forms += [(name, form) for name in NAMES[3:] for form in ("float32", "int8")]
    absent = [(name, form) for name, form in forms if name == "jax"]
    absent.append(("openvino", "int8"))
    expected = []
    for one in forms:
        expected += [(*one, None)] if one in absent else [(*one, 1), (*one, 4)]
    assert rows == expected
    problems = {r["problem"] for r in answer["rows"] if "problem" in r}
    assert problems == {
        'jax is not installed. Install it: `pip install "stzoo[jax]"`.',
        "An int8 export to openvino needs nncf, which is not installed. Install it: "
        '`pip install "stzoo[openvino,int8]"`.',
    }
    assert [where[:2] for where in planned] == [
        (f"{name}-{form}", name) for name, form in forms if (name, form) not in absent
    ]
    assert found[1:3] == [
        ("model.onnx", "int8", False, False),
        ("model.xml", "float32", True, True),
    ]


def test_the_table(saved, planned):
    text = invoke(saved, "--only", "torch", "--batch", "1", "--threads", "1")
    first, second, empty, titles, *rows = text.splitlines()
    assert first == "tsm_tiny, clips of 2x32x32x3"
    assert second.endswith(", cores: 1") and empty == ""
    assert re.split(r"\s{2,}", titles.strip()) == [
        *("runs on", "form", "clips", "ms/clip", "best ms", "clips/s"),
        *("first answer, s", "memory, MB"),
    ]
    assert [row.split() for row in rows] == [
        ["torch", form, "1", "2.0", "1.0", "500.0", "3.0", "-"]
        for form in ("plain", "fused")
    ]
    assert planned[0][2] == {"batches": [1], "seconds": 3.0, "threads": 1}


def test_a_problem_of_one_does_not_end_the_others(saved, planned, monkeypatch):
    def fail(folder, name, how):
        raise RuntimeError("ValueError: no such kernel")

    monkeypatch.setattr(benchmark, "_in_process", fail)
    monkeypatch.setattr("stzoo.deploy.export.write_export", lambda *_, **__: None)
    text = invoke(saved, "--only", "torch", "--only", "onnxruntime")
    assert text.splitlines()[-3:-1] == [
        "torch plain: ValueError: no such kernel",
        "torch fused: ValueError: no such kernel",
    ]
    text = invoke(saved, "--only", "onnxruntime", "--precision", "float16")
    assert text.splitlines()[-1] == "onnxruntime float16: onnxruntime has no float16."


@pytest.mark.slow
def test_a_process_that_fails_is_a_problem(tmp_path):
    how = dict(batches=[1], seconds=0.0, threads=None)
    (row,) = benchmark._rows("torch", "plain", lambda: tmp_path / "no", how)
    assert row["problem"].startswith("FileNotFoundError: ")


def test_a_fused_model_has_one_form_and_a_builder_random_weights(
    model, planned, tmp_path
):
    stzoo.save(stzoo.fuse(model), tmp_path / "fused")
    text = invoke(str(tmp_path / "fused"), "--only", "jax", "--json")
    assert {row["form"] for row in json.loads(text)["rows"]} == {"fused"}
    text = invoke("tsm_tiny", "--only", "jax", "--json")
    assert json.loads(text)["model"] == "tsm_tiny"


def test_what_cannot_be_measured_is_refused(tmp_path, monkeypatch):
    done = CliRunner().invoke(main, ["benchmark", "resnet", "--only", "jax"])
    assert done.exit_code == 1 and "resnet" in done.output
    done = CliRunner().invoke(main, ["benchmark", "tsm_tiny", "--only", "mxnet"])
    assert done.exit_code == 2 and "'mxnet' is not one of 'tensorflow'" in done.output
    anysize = stzoo.tsm_tiny(width=4, depth=1, input_shape=(3, None, None, 3))
    stzoo.save(anysize, tmp_path / "any")
    done = CliRunner().invoke(main, ["benchmark", str(tmp_path / "any")])
    assert done.exit_code == 1 and "depends on the size of its clips" in done.output


@pytest.mark.slow
def test_all_backends_and_runtimes(saved):
    text = invoke(saved, "--precision", "int8", "--seconds", "0", "--json")
    rows = json.loads(text)["rows"]
    assert [row for row in rows if "problem" in row] == []
    assert len(rows) == 2 * (3 * 2 + 3 * 2)


@pytest.mark.slow
def test_an_export_is_run_by_its_runtime(model, tmp_path):
    stzoo.export(model, tmp_path / "model.onnx")
    text = invoke(str(tmp_path), "--seconds", "0", "--json", "--batch", "2")
    rows = json.loads(text)["rows"]
    assert [(r["runs_on"], r["form"], r["clips"]) for r in rows] == [
        ("onnxruntime", "float32", 1),
        ("onnxruntime", "float32", 2),
    ]


@pytest.mark.parametrize(
    ("names", "precisions", "received"),
    [(("torch",), (), "torch"), ((), ("int8",), "int8")],
)
def test_an_export_is_not_run_in_another_way(names, precisions, received):
    export = Exported.__new__(Exported)  # without files
    export.folder, export.package = "deploy", "onnxruntime"
    expected = "deploy is an export: onnxruntime runs it as it is. Omit --only and"
    with pytest.raises(ValueError, match=f"{expected}.*Received: {received}"):
        benchmark.benchmark(export, names, precisions, 1, 0.0, None)
