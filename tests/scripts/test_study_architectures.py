import csv
import json
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest
import study_architectures as study

from stzoo.writer import write
from stzoo.zoo import BUILDERS

SIZES = dict.fromkeys(study.NETWORKS, {"parameters": 7, "gflops": 0.5})


def run(top1, minutes=1.0):
    return SimpleNamespace(measured={"top1": top1}, training={"minutes": minutes})


def test_every_tiny_architecture_is_compared():
    known = {name for name in BUILDERS if name.endswith("_tiny")}
    assert {builder for builder, *_ in study.NETWORKS.values()} == known
    assert {name for both in study.CLAIMS for name in both} <= set(study.NETWORKS)


def test_the_tables_of_what_was_planted():
    runs = {
        ("TSN", "motion", 0): run(50, 2),
        ("TSN", "motion", 1): run(52, 4),
        ("TSN", "shape", 0): run(90, 3),
        ("TSM", "motion", 0): run(80.5),
        ("TSM", "shape", 0): run(89),
        ("CSTM", "shape", 2): run(10),
    }
    tables = study.tables(runs, SIZES)
    assert tables["accuracy"][1] == dict(
        network="TSN", labels="motion", seed=1, top1=52, minutes=4
    )
    assert tables["table"] == [
        dict(network="TSN", motions="51.00 ± 1.41 (2)", shapes="90.00 (1)")
        | dict(parameters=7, gflops=0.5, minutes="3.00 ± 1.00 (3)"),
        dict(network="TSM", motions="80.50 (1)", shapes="89.00 (1)")
        | dict(parameters=7, gflops=0.5, minutes="1.00 ± 0.00 (2)"),
        dict(network="CSTM", motions="–", shapes="10.00 (1)")
        | dict(parameters=7, gflops=0.5, minutes="1.00 (1)"),
    ]
    question = "Is TSM more accurate than TSN on {}?"
    assert tables["answers"] == [
        dict(question=question.format("motions"), points="+30.50", seeds=1)
        | dict(answer="yes"),
        dict(question=question.format("shapes"), points="-1.00", seeds=1)
        | dict(answer="no"),
    ]


def test_a_study_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    trained = []

    def train(command, check):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(command)
        assert "--pairs" in command and command[2].startswith("s3d_tiny")
        folder = Path(command[command.index("--out") + 1])
        known = dict(measured={"top1": 1.0}, training={"minutes": 2.0})
        known |= dict(builder="s3d_tiny", library="stzoo", classes=12)
        known["clip"] = dict(frames=16, height=64, width=64, short_side=72)
        write(folder, {"config.json": json.dumps(known).encode()})

    monkeypatch.setattr(study.study_motions.subprocess, "run", train)
    monkeypatch.setattr(study.count_costs, "count", lambda entry: SIZES["S3D"])
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    arguments = ["--out", str(tmp_path), "--only", "S3D*", "--seeds", "1"]
    with pytest.raises(KeyboardInterrupt):
        study.main(arguments)
    rows = csv.DictReader((tmp_path / "accuracy.csv").read_text().splitlines())
    assert [(row["network"], row["labels"]) for row in rows] == [
        *(("S3D", "motion"), ("S3D", "shape"), ("S3D-G", "motion"))
    ]
    trained.clear()
    study.main(arguments)
    assert len(trained) == 1 and "gating=true" in trained[0]
    with pytest.raises(SystemExit, match="has a study of"):
        study.main([*arguments, "--epochs", "2"])


def test_another_backend_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(SystemExit, match="KERAS_BACKEND=torch"):
        study.main(["--out", str(tmp_path)])
