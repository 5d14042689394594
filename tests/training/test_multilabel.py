"""Several labels a video: the motion and the shape of each video are its labels."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny
from harness import close
from tiny import RECIPE, build, run

import stzoo
from stzoo.data import motions
from stzoo.data.datasets import Videos, read
from stzoo.data.reading import Reading
from stzoo.inference import metrics
from stzoo.inference.predict import activate, decode_predictions, thresholds_of
from stzoo.training import multilabel
from stzoo.training.finetune import finetune
from stzoo.training.losses import Crossentropy
from stzoo.training.probe import probe
from stzoo.training.recipes import RECIPES
from stzoo.training.report import describe_videos
from stzoo.training.weighting import class_weights
from stzoo.weights.config import ModelConfig

CLASSES = ("shaking", "comb", "rising", "arrow")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Eight videos of two motions and two shapes; one is listed without labels."""
    folder = tmp_path_factory.mktemp("several")
    lines = ["path,labels"]
    for number in range(8):
        motion = ("rising", "shaking")[number % 2]
        shape = ("comb", "arrow")[number // 2 % 2]
        frames, _, _ = motions.render(number, motion, shape)
        motions.save(folder / f"{number}.mp4", frames)
        lines.append(f"{number}.mp4,{f'{motion}|{shape}' if number else ''}")
    (folder / "list.csv").write_text("\n".join(lines))
    return read(folder / "list.csv", classes=CLASSES)


def numpy_loss(y, z, smoothing=0.0, weights=1.0, gamma=0.0):
    """Written out from the definitions, for labels of 0 and 1."""
    p = 1 / (1 + np.exp(-z))
    target = y * (1 - smoothing) + 0.5 * smoothing
    losses = -target * np.log(p) - (1 - target) * np.log(1 - p)
    if gamma:
        losses *= (1 - (target * p + (1 - target) * (1 - p))) ** gamma
    return (losses * np.where(y, weights, 1.0)).mean(-1)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_loss_of_mixed_labels_is_the_mixed_loss(gamma):
    rng = np.random.default_rng(0)
    y = (rng.random((6, 3)) < 0.5).astype("float32")
    z = rng.normal(size=(6, 3)).astype("float32")
    how = 0.1, (1.0, 3.0, 0.5), gamma
    losses = [numpy_loss(labels, z, *how) for labels in (y, y[::-1])]
    found = multilabel.BinaryCrossentropy(*how)(0.3 * y + 0.7 * y[::-1], z)
    close(found, (0.3 * losses[0] + 0.7 * losses[1]).mean(), 1e-5)


def test_the_loss_is_that_of_keras_and_of_its_definition():
    rng = np.random.default_rng(0)
    y = (rng.random((6, 3)) < 0.5).astype("float32")
    z = rng.normal(size=(6, 3)).astype("float32")
    loss = multilabel.BinaryCrossentropy
    own = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1)
    close(loss(0.1)(y, z), own(y, z))
    own = keras.losses.BinaryFocalCrossentropy(gamma=2.0, from_logits=True)
    close(loss(focal=2.0)(y, z), own(y, z))
    weights = (1.0, 3.0, 0.5)
    close(loss(0.1, weights)(y, z), numpy_loss(y, z, 0.1, weights).mean(), 1e-5)
    found = loss(0.0, weights, 2.0)(y, z)
    close(found, numpy_loss(y, z, 0, weights, 2.0).mean(), 1e-5)
    shares = np.array([1, 1, 0, 1, 0, 0], "float32")
    expected = numpy_loss(y, z)[shares == 1].mean()
    close(loss()(y, z, sample_weight=shares), expected, 1e-5)
    again = loss.from_config(loss(0.1, weights, 2.0).get_config())
    close(again(y, z), loss(0.1, weights, 2.0)(y, z))


def test_the_metric_is_close_to_the_mean_average_precision():
    """Also if probabilities are close to 0, and if a class has no videos."""
    rng = np.random.default_rng(0)
    y = (rng.random((400, 3)) < (0.5, 0.1, 0)).astype("float32")
    z = (rng.normal(size=(400, 3)) + 1.5 * y - 5).astype("float32")
    rows = tuple(map(tuple, y.astype(int)))
    videos = Videos(("x",) * 400, rows, ("a", "b", "c"), multi_label=True)
    metric, weights = multilabel.PrecisionRecall(videos), np.ones(400, "float32")
    weights[300:] = 0
    for part in np.split(np.arange(400), 4):
        metric.update_state(y[part], z[part], weights[part])
    expected = np.nanmean(metrics.average_precision(z[:300], y[:300]))
    assert float(metric.result()) == pytest.approx(expected, abs=0.01)


def test_recipes_give_the_loss_of_the_labels():
    recipe = dataclasses.replace(RECIPE, focal=2.0, label_smoothing=0.1)
    found = recipe.loss((1.0, 2.0), multi_label=True)
    assert found.get_config()["focal"] == 2.0
    assert found.label_smoothing == 0.1 and found.class_weights == (1.0, 2.0)
    with pytest.raises(ValueError, match="focal is for videos with several labels"):
        recipe.loss()
    with pytest.raises(ValueError, match="focal must be at least 0"):
        dataclasses.replace(RECIPE, focal=-1.0)
    assert isinstance(RECIPE.loss((1.0, 2.0)), Crossentropy)


def test_balanced_weights_are_of_the_videos_with_a_class():
    rows = ((1, 0, 1, 0), (1, 0, 0, 0), (1, 1, 0, 0), (1, 0, 0, 0))
    videos = Videos(("x",) * 4, rows, ("a", "b", "c", "d"), multi_label=True)
    assert class_weights(videos, "balanced") == (0.25, 3.0, 3.0, 1.0)
    found = class_weights(videos, "balanced", {0: 1, 1: 0})
    assert found == (1.5 / 2.5, 1.5 / 2.5, 3.0, 1.0)
    assert class_weights(videos, {"b": 7}) == (1.0, 7.0, 1.0, 1.0)


def test_the_log_counts_labels(videos, caplog):
    caplog.set_level("INFO", "stzoo")
    describe_videos(videos)
    assert (
        "8 training videos of 4 classes, from 3 (comb) to 4 (shaking)." in caplog.text
    )
    assert "A video has 1.8 labels on average. 1 videos have none." in caplog.text


def test_a_training_gives_a_model_of_several_labels(videos, tmp_path):
    model = build(4)
    how = {"validation": videos, "verbose": 0, "class_weight": "balanced"}
    history = finetune(model, videos, tmp_path, RECIPE.resized(epochs=2), **how)
    assert {"pr_auc", "val_pr_auc", "val_loss"} <= history[0].keys()
    loaded = stzoo.load(tmp_path)
    config, found = loaded.stzoo, stzoo.evaluate(loaded, videos)
    assert config.multi_label and len(config.thresholds) == 4
    logits = loaded.predict_on_batch(np.zeros((1, *config.clip.shape), "uint8"))
    close(activate(logits, config), 1 / (1 + np.exp(-logits)), 1e-5)

    best = max(row["val_pr_auc"] for row in history)
    known = config.training["validation"]
    assert known["pr_auc"] == best
    precision = known["mean_average_precision"]
    assert found.mean_average_precision == pytest.approx(precision, abs=1e-5)
    for row in found.classes:  # as good as an answer that is always yes
        assert row["f1"] >= 2 * row["videos"] / (row["videos"] + 8) - 1e-6
    card = (tmp_path / "README.md").read_text()
    shown = f"validation videos | {100 * precision:.2f} %"
    assert shown in card and "none, one or several" in card and "or none." in card

    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    other = dataclasses.replace(videos, labels=videos.labels[::-1])
    multilabel.choose_thresholds(tmp_path, other)  # they are chosen already
    assert files == {path: path.read_bytes() for path in tmp_path.iterdir()}

    answers = stzoo.predict(loaded, videos.paths[1])
    everything = stzoo.predict(loaded, videos.paths[1], threshold=0)
    least = dict(zip(CLASSES, config.thresholds, strict=True))
    assert answers == [one for one in everything if one[1] >= least[one[0]]]
    assert len(everything) == 4
    assert stzoo.predict(loaded, videos.paths[1], threshold=1) == []
    (window,) = stzoo.stream(loaded, videos.paths[1], span=1.75, threshold=0)
    assert len(window.answers) == 4
    events = stzoo.find_events([window], high=config.thresholds)
    at_least = window.probabilities >= np.float32(config.thresholds)
    assert {event.label for event in events} == set(np.array(CLASSES)[at_least])
    with pytest.raises(ValueError, match="one for each of the 4 classes. Received: 2"):
        stzoo.find_events([window], high=(0.5, 0.5))


def test_a_new_head_and_a_saved_model_know_their_kind(tmp_path):
    model = build(3)
    kind = {"multi_label": True, "thresholds": (0.1, 0.2, 0.3)}
    model.stzoo = dataclasses.replace(model.stzoo, **kind)
    stzoo.save(model, tmp_path)
    assert stzoo.load(tmp_path).stzoo.thresholds == (0.1, 0.2, 0.3)
    new = stzoo.load(tmp_path, classes=2).stzoo
    assert not new.multi_label and new.thresholds == ()


def test_answers_reach_their_thresholds():
    shares = np.array([0.3, 0.7, 0.2], "float32")
    labels = ("a", "b", "c")
    several = ModelConfig("tsm_tiny", classes=3, labels=labels, multi_label=True)
    assert [name for name, _ in decode_predictions(shares, several)] == ["b"]
    low = dataclasses.replace(several, thresholds=(0.3, 0.7, 0.21))
    found = decode_predictions(shares, low)
    assert [name for name, _ in found] == ["b", "a"]
    assert decode_predictions(shares, low, top=1) == found[:1]
    assert decode_predictions(shares, low, threshold=0.8) == []
    one = ModelConfig("tsm_tiny", classes=3, labels=labels)
    assert len(decode_predictions(shares, one)) == 3
    assert [name for name, _ in decode_predictions(shares, one, 5, 0.7)] == ["b"]
    np.testing.assert_array_equal(thresholds_of(several), [0.5] * 3)
    with pytest.raises(ValueError, match="threshold must be from 0 to 1. Received: 2"):
        decode_predictions(shares, one, threshold=2)


@pytest.mark.slow
def test_a_class_without_positives_and_no_validation_keep_a_half(
    videos, tmp_path, caplog
):
    run(tmp_path / "alone", read_as(videos, 2), epochs=1)
    assert stzoo.load(tmp_path / "alone").stzoo.thresholds == ()
    rows = [(row[0], 0) for row in videos.labels]
    measured = dataclasses.replace(videos, labels=rows, classes=CLASSES[:2])
    with caplog.at_level("INFO", "stzoo"):
        run(tmp_path / "new", read_as(videos, 2), validation=measured, epochs=1)
    assert stzoo.load(tmp_path / "new").stzoo.thresholds[1] == 0.5
    assert "Without videos, so 0.5: comb." in caplog.text
    nothing = dataclasses.replace(videos, labels=[(0,) * 4] * 8)
    stzoo.save(build(4), tmp_path / "untrained")
    multilabel.choose_thresholds(tmp_path / "untrained", nothing)
    assert "No validation video has a label, so all thresholds are 0.5." in caplog.text
    assert stzoo.load(tmp_path / "untrained").stzoo.thresholds == ()


def test_a_video_that_cannot_be_decoded_does_not_shift_the_labels(videos, tmp_path):
    (tmp_path / "broken.mp4").write_text("no video")
    rows = ((1, 1, 1, 1), *videos.labels)
    paths = (str(tmp_path / "broken.mp4"), *videos.paths)
    broken = dataclasses.replace(videos, paths=paths, labels=rows)
    model = build(4)
    scores, labels = multilabel._scores(model, broken, Reading(1))
    np.testing.assert_array_equal(labels, videos.labels)
    close(scores, multilabel._scores(model, videos, Reading(1))[0])


MODERN = dataclasses.replace(
    RECIPES["small_data"].resized(epochs=1, batch_size=4),
    **dict(mixup=0.8, cutmix=1.0, randaugment=(2, 5), area=(0.3, 1.0), repeats=2),
    **dict(ema=0.7, accumulate=2, head_first=0.0, label_smoothing=0.1, focal=1.0),
)


@pytest.mark.slow
def test_all_settings_together(videos, tmp_path):
    """The averaged weights are measured, kept, and have the thresholds."""
    how = {"validation": videos, "verbose": 0, "class_weight": "balanced"}
    (row,) = finetune(build(4), videos, tmp_path, MODERN, **how)
    assert np.isfinite(list(row.values())).all()
    loaded = stzoo.load(tmp_path)
    scores, labels = multilabel._scores(loaded, videos, Reading(1))
    np.testing.assert_allclose(
        loaded.stzoo.thresholds, metrics.best_thresholds(scores, labels), atol=1e-5
    )
    measured = multilabel.PrecisionRecall(videos)
    measured.update_state(labels.astype("float32"), np.log(scores / (1 - scores)))
    assert float(measured.result()) == pytest.approx(row["val_pr_auc"], abs=1e-3)


def read_as(videos, count):
    rows = [row[:count] for row in videos.labels]
    return dataclasses.replace(videos, labels=rows, classes=CLASSES[:count])


def test_what_needs_one_label_says_so(videos, tmp_path, motion_folder):
    with pytest.raises(ValueError, match="A probe is for one label a video"):
        probe(build(4), videos, tmp_path)
    one = read(motion_folder)
    several = read(motion_folder, multi_label=True)
    with pytest.raises(ValueError, match="as many labels a video as the training"):
        run(tmp_path, one, validation=several)


KILL = """
import os, signal, sys
from stzoo.data import datasets
from stzoo.training import multilabel
from tiny import run
{kill}
videos = datasets.read({list!r}, classes={classes!r})
run({folder!r}, videos, validation=videos, classes=4)
"""
IN_A_WRITE = """
replace = os.replace
def die(source, target):
    if str(target).endswith("state.npz") and os.path.exists(target):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = die
"""
BEFORE_THE_THRESHOLDS = """
def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)
multilabel.choose_thresholds = die
"""


@pytest.mark.graphs  # as the processes that are killed
@pytest.mark.slow
@pytest.mark.parametrize(
    "kill", [IN_A_WRITE, BEFORE_THE_THRESHOLDS], ids=("in a write", "before thresholds")
)
def test_a_killed_run_resumes_with_the_same_thresholds(videos, tmp_path, kill):
    path = str(Path(videos.paths[0]).parent / "list.csv")
    given = {"list": path, "classes": CLASSES, "folder": str(tmp_path / "killed")}
    paths = os.pathsep.join((str(Path(tiny.__file__).parent), *sys.path))
    killed = subprocess.run(
        [sys.executable, "-c", KILL.format(kill=kill, **given)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for name in ("whole", "killed"):
        run(tmp_path / name, videos, validation=videos, classes=4)
    one, other = (
        json.loads((tmp_path / name / "config.json").read_text())
        for name in ("whole", "killed")
    )
    assert one == other and len(one["thresholds"]) == 4


@pytest.mark.slow
def test_a_training_learns_motions_and_shapes(tmp_path):
    """The mean average precision on other videos is far above chance."""
    parts = []
    for name, count, seed in (("train", 96, 1), ("test", 48, 2)):
        labels = motions.write(tmp_path / name, count, seed)
        rows = labels.read_text().splitlines()[1:]
        text = "\n".join("{},{}|{}".format(*row.split(",")) for row in rows)
        (tmp_path / name / "list.csv").write_text("path,labels\n" + text)
        classes = parts[0].classes if parts else None
        parts.append(read(tmp_path / name / "list.csv", classes=classes))
    train, test = parts
    keras.utils.set_random_seed(0)
    model = stzoo.cost_tiny(len(train.classes), pretrained="motions")
    recipe = RECIPES["small_data"].resized(epochs=6, batch_size=8)
    finetune(
        model, train, tmp_path / "new", recipe, test, reading=Reading(2), verbose=0
    )
    found = stzoo.evaluate(stzoo.load(tmp_path / "new"), test)
    chance = test.counts.mean() / len(test)
    assert chance == pytest.approx(0.1)
    assert found.mean_average_precision > 4 * chance
    assert found.micro["f1"] > 0.3
