"""Who runs against whom, and what the table says of it."""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path

import benchmark
import contenders
import keras
import numpy as np
import pytest
from contenders import Case
from peers import normalised, peer

import stzoo

SMALL = {"width": 4, "depths": (1, 1)}
CASE = Case(
    model="cost_tiny",
    options={"variant": "a", "pooling": "code", **SMALL},
    shape=(2, 32, 32, 3),
    classes=12,
    backend=keras.backend.backend(),
    precision="float32",
    step="inference",
    batch=2,
    threads=1,
    # to compile takes too long
    contenders=("stzoo", "stzoo fused", "eager", "channels last"),
    rounds=2,
)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("c2d_tiny", SMALL),
        ("c3d_tiny", SMALL | {"kernel": "3x3x3"}),
        ("cost_tiny", SMALL | {"variant": "b"}),
        ("p3d_tiny", SMALL),
        ("tsn_tiny", {"backbone": "inception_v3", "width": 4}),
        ("tsm_tiny", {"width": 4}),
        ("gsm_tiny", {"width": 8}),
        ("cstm_tiny", {"width": 8}),
        ("s3d_tiny", {"width": 4, "gating": True}),
        ("videomae_tiny", {"width": 12, "depth": 1, "heads": 3}),
    ],
)
def test_both_have_the_same_parameters(name, options):
    model = stzoo.create(name, **options)
    about = model.stzoo
    case = dataclasses.replace(
        CASE,
        model=name,
        options=about.options,
        shape=about.clip.shape,
        classes=about.classes,
    )
    ours = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert sum(p.numel() for p in peer(case).parameters()) == ours


def test_vjepa2_is_that_of_transformers():
    import torch

    options = {"width": 12, "depth": 1, "heads": 2}
    case = dataclasses.replace(CASE, model="vjepa2_tiny", options=options)
    network = peer(case).eval()
    count = sum(p.numel() for p in network.network.vjepa2.encoder.parameters())
    model = stzoo.vjepa2_tiny(**options)
    encoder = [layer for layer in model.layers if "pooler" not in layer.name]
    assert count == sum(layer.count_params() for layer in encoder if layer.name != "fc")
    with torch.no_grad():
        assert network(normalised(case)).shape == (2, 12)


@pytest.mark.parametrize("step", ["inference", "training"])
def test_a_race(step, monkeypatch):
    monkeypatch.setattr(contenders, "CONVOLUTIONS", ((4, 8),))
    names = [n for n in CASE.contenders if (step, n) != ("training", "stzoo fused")]
    rows = benchmark.race(dataclasses.replace(CASE, step=step, contenders=names))
    assert list(rows) == names
    assert rows["eager"]["against_eager"] == 1
    for row in rows.values():
        assert 0 < row["low_ms"] <= row["median_ms"] <= row["high_ms"]
        assert row["share"] == pytest.approx(row["gflops_s"] / row["best_rate"])


def test_convolutions_are_counted():
    """The 7x7 of the stem alone is 2 * 3 * 49 * 4 operations for each of its pixels."""
    least = 2 * 3 * 49 * 4 * 2 * 2 * 16 * 16
    inference = contenders.operations(CASE)
    training = contenders.operations(dataclasses.replace(CASE, step="training"))
    assert least < inference
    assert 2 * inference < training < 3 * inference


def test_others_are_seen():
    seconds, others = benchmark.clock(lambda: sum(range(10**6)))
    assert seconds > 0
    assert others / seconds < 64


def test_the_peak_is_that_of_the_process_alone():
    code = "import benchmark; print(benchmark.peak())"
    held = np.ones(2**27, "uint8")  # a parent that holds 128 MB more
    folder = Path(benchmark.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, preexec_fn=str
    )
    assert float(done.stdout) < benchmark.peak() - held.size / 2**20


def test_the_table(tmp_path, monkeypatch):
    """Every case has a row for each contender, and starts each of them once."""
    calls = []

    def run(work, case):
        calls.append((work, case.backend, case.contenders))
        if work == "start":
            return {"build_s": 1.0, "first_s": 2.0, "peak_mb": 3.0}
        return {name: {"median_ms": 1 / 3} for name in case.contenders}

    def measure(arguments):
        arguments += " --models c2d_tiny --threads 1 --machine here --busy"
        arguments = ["", *arguments.split(), "--out", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.setattr(benchmark, "in_process", run)
        benchmark.main()
        with (tmp_path / "here-float32.csv").open() as file:
            return list(csv.DictReader(file))

    asked = "--backends jax torch --batches 1 --training 1 --contenders stzoo eager"
    rows = measure(asked)
    assert [(row["backend"], row["step"], row["contender"]) for row in rows] == [
        (backend, step, contender)
        for backend in ("jax", "torch")
        for step in ("inference", "training")
        for contender in ("stzoo", "eager")
    ]
    assert rows[0]["median_ms"] == "0.3333"
    assert calls.count(("start", "jax", ("stzoo",))) == 2
    assert calls.count(("start", "torch", ("eager",))) == 2

    again = measure("--backends jax --batches 1 --training --contenders stzoo")
    assert len(again) == 7, "the case that was measured again has one contender now"
    assert again[1:] == rows[2:]


def test_only_pytorch_is_compiled_once_more():
    arguments = ["--models", "c2d_tiny", "--batches", "1", "--training", "1"]
    found = {}
    parser = benchmark.command()
    for case in benchmark.cases(parser.parse_args(arguments)):
        found[case.backend, case.step] = "stzoo compiled" in case.contenders
    assert [case for case, there in found.items() if there] == [("torch", "inference")]


def test_only_a_training_is_rematerialized(monkeypatch):
    arguments = ["--models", "c2d_tiny", "--batches", "1", "--training", "1"]
    for case in benchmark.cases(benchmark.command().parse_args(arguments)):
        there = "stzoo rematerialized" in case.contenders
        assert there == (case.step == "training")
    kept, model = [], stzoo.c2d_tiny()
    monkeypatch.setattr(contenders, "_created", lambda case: model)
    for name in ("stzoo rematerialized", "stzoo"):
        contenders.CONTENDERS[name](CASE)
        kept.append(model.rematerialize)
    assert kept == [True, False]


def test_runtimes_are_measured_once_and_in_float32():
    """No backend of Keras runs them, and they do not train."""
    parser, base = benchmark.command(), ["--models", "cost_tiny:variant=a"]
    for more, expected in (("", {("torch", "inference")}), ("bfloat16", set())):
        arguments = [*base, "--batches", "1", "--training", "1"]
        arguments += ["--precision", more] if more else []
        cases = list(benchmark.cases(parser.parse_args(arguments)))
        there = {
            (case.backend, case.step)
            for case in cases
            if set(contenders.RUNTIMES) & {*case.contenders}
        }
        assert there == expected
        assert {case.options["variant"] for case in cases} == {"a"}
        assert {case.builder for case in cases} == {"cost_tiny"}
    assert len(contenders.RUNTIMES) == 4


def test_a_runtime_has_no_start():
    alone = dataclasses.replace(CASE, contenders=("plain openvino",))
    assert list(benchmark.start(alone)) == list(benchmark.START)


# The exporters of PyTorch 2.13 and the converter of OpenVINO 2026.4 warn so.
@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript")
@pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.:FutureWarning")
@pytest.mark.parametrize(
    "name",
    ["plain onnxruntime", pytest.param("plain openvino", marks=pytest.mark.slow)],
)
def test_a_runtime_answers_like_the_network(name, monkeypatch):
    import torch

    module, x = peer(CASE).eval(), normalised(CASE)
    monkeypatch.setattr(contenders, "peer", lambda case: module)
    monkeypatch.setattr(contenders, "normalised", lambda case: x)
    with torch.no_grad():
        expected = module(x).numpy()
    found = contenders.CONTENDERS[name](CASE)()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stzoo onnxruntime", "stzoo openvino"])
def test_an_export_of_a_model_runs(name):
    assert contenders.CONTENDERS[name](CASE)().shape == (2, 12)


def test_a_busy_machine_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", "--models", "c2d_tiny"])
    monkeypatch.setattr(benchmark, "clock", lambda run: (2.0, 1.0))
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "0.5 cores busy" in capsys.readouterr().err
