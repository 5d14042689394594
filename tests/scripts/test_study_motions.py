import csv
import json
from pathlib import Path

import numpy as np
import pytest
import study_motions
import train_motions

import stzoo
from stzoo.data import motions
from stzoo.explain.contributions import Contributions
from stzoo.writer import write


def planted(time, rise=0.0, gap=0.0):
    """Shares over four layers of a network that leans on time as is asked for."""
    time = time + rise * np.array([-0.5, -1 / 6, 1 / 6, 0.5])
    by_layer = np.stack([1 - time, 0.4 * time, 0.6 * time], axis=-1)
    needs = [motions.REVERSED[name] != name for name in motions.CLASSES]
    by_class = by_layer + np.array([-gap, gap, 0]) * np.array(needs)[:, None, None]
    layers = tuple(f"layer{number}_1_conv2" for number in range(1, 5))
    count = len(motions.CLASSES)
    return Contributions(
        *("cost_tiny", ("hw", "tw", "th"), layers, motions.CLASSES, (5,) * count),
        *(5 * count, by_layer, by_class, {}),
    )


def test_the_questions_are_answered_from_what_was_planted():
    accuracy = {
        ("motion", "C2D"): [50, 51, 49],
        ("motion", "C3D"): [90, 91, 92],
        ("motion", "CoST (a)"): [93, 90, 95],
        ("motion", "CoST (b)"): [95, 96, 97],
    }
    accuracy |= {("shape", name): [99, 98, 97] for name in study_motions.NETWORKS}
    shares = {
        ("motion", "CoST (a)"): [planted(0.5, 0.2), planted(0.6, 0.1)],
        ("shape", "CoST (a)"): [planted(0.3, -0.1), planted(0.1, -0.1)],
        ("motion", "CoST (b)"): [planted(0.5, 0.2, 0.04), planted(0.6, -0.1, 0.02)],
        ("shape", "CoST (b)"): [planted(0.6), planted(0.7)],
    }
    rows = study_motions.answers(accuracy, shares)
    found = [(row["points"], row["answer"]) for row in rows]
    assert found == [
        ("+1.67 ± 2.31", "undecided"),  # CoST (a) and C3D
        ("+5.00 ± 0.00", "yes"),
        ("+41.00 ± 1.73", "yes"),
        *[("+0.00 ± 0.00", "no")] * 3,
        ("+35.00 ± 21.21", "yes"),  # (a) on motions and on shapes
        ("-10.00 ± 0.00", "no"),
        ("+15.00 ± 7.07", "yes"),  # with depth
        ("-10.00 ± 0.00", "no"),
        ("+5.00 ± 21.21", "undecided"),
        *[found[11]],
        ("+3.00 ± 1.41", "yes"),  # classes
    ]
    assert "CoST (a) more accurate than C3D on motions" in rows[0]["question"]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The study of networks that are not trained, and the commands that train them."""
    trained, size = [], dict(width=8, depths=(1, 1, 1, 1))

    def run(command, check):
        trained.append(command)
        named = command.index("--labels")
        builder, *options = command[2:named]
        values = dict(zip(command[named::2], command[named + 1 :: 2], strict=True))
        classes = train_motions.CLASSES[values["--labels"]]
        measured = {"top1": 10.0 * len(trained)}
        if builder != "cost_tiny":  # of these, nothing but the accuracy is read
            config = json.dumps({"measured": measured}).encode()
            return write(Path(values["--out"]), {"config.json": config})
        known = dict(option.split("=") for option in options[1:])
        model = stzoo.create(builder, classes=len(classes), **known, **size)
        stzoo.save(model, values["--out"], labels=classes, measured=measured)

    monkeypatch.setattr(study_motions.subprocess, "run", run)
    arguments = ["--out", f"{tmp_path}/study", "--data", f"{tmp_path}/data"]
    arguments += ["--videos", "60", "--epochs", "1", "--seeds", "1"]
    return arguments, trained, tmp_path / "study"


@pytest.mark.slow
def test_a_study_is_made_once(small, capsys):
    arguments, trained, out = small
    study_motions.main(arguments)
    assert len(trained) == 8
    assert "Does CoST (a) lean more on time where labels need motion: " in (
        capsys.readouterr().out
    )
    tables = {}
    for name in ("accuracy", "shares", "answers"):
        lines = (out / f"{name}.csv").read_text().splitlines()
        tables[name] = list(csv.DictReader(lines))
    runs = [(row["labels"], row["network"]) for row in tables["accuracy"]]
    assert runs[4:6] == [("shape", "C2D"), ("shape", "C3D")]
    assert [float(row["top1"]) for row in tables["accuracy"]] == [*range(10, 81, 10)]
    assert stzoo.load(out / "shape" / "costa_0").stzoo.options["variant"] == "a"
    assert {row["videos"] for row in tables["shares"] if row["scope"] == "all"} == {
        "12"
    }
    pictures = [path.read_bytes() for path in out.glob("*.png")]
    assert len(pictures) == 7 and all(one.startswith(b"\x89PNG") for one in pictures)

    study_motions.main(arguments)
    assert len(trained) == 8
    with pytest.raises(SystemExit, match="has a study of .*'epochs': 1"):
        study_motions.main([*arguments, "--epochs", "2"])
