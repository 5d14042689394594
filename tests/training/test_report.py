import dataclasses
import os

import pytest
from tiny import build

from stzoo.data.datasets import Videos
from stzoo.training import report
from stzoo.training.recipes import RECIPES


@pytest.fixture
def folder(tmp_path):
    for name, text in (("a", "one"), ("b", "two"), ("c", "six"), ("d", "two")):
        (tmp_path / f"{name}.mp4").write_text(text)
    return tmp_path


def paths(folder, names):
    return tuple(str(folder / f"{name}.mp4") for name in names)


def test_videos_in_both_lists_are_found_by_path_and_by_content(folder):
    a, b, c, d = paths(folder, "abcd")
    os.symlink(a, folder / "link.mp4")
    link = str(folder / "link.mp4")
    assert report.find_shared((a, b), (c,)) == []
    assert report.find_shared((a, b), (d, c)) == [(d, b)]
    assert report.find_shared((a, b), (link,)) == [(link, a)]
    far = ("s3://x/a.mp4", str(folder / "missing.mp4"), str(folder))
    assert report.find_shared(far, far) == [(path, path) for path in far]
    assert report.find_shared(far, (a,)) == []


def test_odd_videos_are_logged(folder, caplog):
    train = Videos(paths(folder, "abc"), (0, 0, 0), ("up", "down"))
    validation = Videos(paths(folder, "d"), (0,), ("up", "down"))
    with caplog.at_level("INFO", "stzoo"):
        report.describe_videos(train, validation)
    b, d = paths(folder, "bd")
    assert [record.message for record in caplog.records] == [
        "3 training videos of 2 classes, from 0 (down) to 3 (up).",
        "Classes with fewer than 3 videos can hardly be learned: down (0).",
        "1 validation videos.",
        f"1 of 1 validation videos are also training videos, so the validation "
        f"accuracy is too high: {d} = {b}. `stzoo split` makes lists without this.",
    ]
    assert report.shortened("abcdefg") == "a, b, c, d, e and 2 more"


@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_the_share_of_trained_parameters(freeze, caplog):
    model = build()
    kernel, bias = model.get_layer("fc").weights
    head = kernel.shape[0] * kernel.shape[1] + bias.shape[0]
    recipe = dataclasses.replace(RECIPES["small_data"], freeze=freeze, head_first=0.0)
    recipe.prepare(model)
    trained, total = report.count_trained(model)
    assert trained == (head if freeze == "backbone" else total)
    statistics = sum(v.shape[0] for v in model.weights if "/moving_" in v.path)
    assert total == model.count_params() - statistics
    with caplog.at_level("INFO", "stzoo"):
        report.describe_training(model, recipe, 10, 20)
    share = 100 * (1 - trained / total)
    assert caplog.records[-1].message == (
        f"Recipe small_data: 20 epochs of 10 steps of 8 clips, adamw with a learning "
        f"rate of {recipe.learning_rate:.3g}. {trained:,} of {total:,} parameters are "
        f"trained ({share:.0f} % are frozen)."
    )


def test_a_run_with_few_steps_says_so(caplog):
    model, recipe = build(), RECIPES["small_data"]
    with caplog.at_level("INFO", "stzoo"):
        report.describe_training(model, recipe, 3, 66)
        report.describe_training(model, recipe, 10, 20)
    found = [row.message for row in caplog.records if "only 198 steps" in row.message]
    assert found == [
        "These are only 198 steps. If the accuracy is low, try 67 epochs (201 steps)."
    ]
    assert "only 200 steps" not in caplog.text


@pytest.mark.parametrize("validated", [True, False])
def test_the_result_says_why_it_stopped_and_what_guessing_reaches(validated, caplog):
    train = Videos(tuple("abcd"), (1, 1, 1, 0), ("up", "down"))
    validation = Videos(tuple("xy"), (0, 1), ("up", "down")) if validated else None
    row = {"accuracy": 0.875, "val_accuracy": 0.625}
    with caplog.at_level("INFO", "stzoo"):
        report.describe_result([row] * 5, 1, 9, train, validation)
        report.describe_result([row] * 9, 8, 9, train, validation)
    stopped, kept, done, last = (record.message for record in caplog.records)
    assert stopped == "Stopped after epoch 5 of 9: no improvement since epoch 2."
    assert done == "Stopped after epoch 9 of 9, the last one."
    why, kind, accuracy, guess = (
        ("the best one", "validation", 62.5, 50.0)
        if validated
        else ("the last one, without validation videos", "training", 87.5, 75.0)
    )
    end = (
        f"{why}. Accuracy on the {kind} videos: {accuracy} %. Always guessing the "
        f"largest class (down): {guess} %."
    )
    assert (kept, last) == (f"Kept epoch 2, {end}", f"Kept epoch 9, {end}")
