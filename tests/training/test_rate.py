import csv
import dataclasses
import logging

import keras
import numpy as np
import pytest
from harness import numpy
from tiny import RECIPE, build

from stzoo.data import datasets
from stzoo.data.pipeline import Order, clips
from stzoo.data.reading import Reading
from stzoo.training import rate
from stzoo.training.rate import find_rate
from stzoo.training.recipes import RECIPES
from stzoo.training.weighting import class_weights

HOW = {"steps": 8, "reading": Reading(num_workers=1)}


@pytest.fixture
def videos(motion_folder):
    return datasets.read(motion_folder)


def test_the_files_are_the_result_and_the_model_is_unchanged(
    videos, tmp_path, caplog, monkeypatch
):
    copies, clone = [], keras.models.clone_model
    monkeypatch.setattr(
        keras.models, "clone_model", lambda x: copies.append(clone(x)) or copies[-1]
    )
    model = build()
    before = [numpy(v).copy() for v in model.variables]
    trained, dropout = len(model.trainable_variables), model.get_layer("dropout").rate
    changed = dict(dropout=0.3, freeze="backbone", head_first=0.5)
    recipe = dataclasses.replace(RECIPE, **changed)
    with caplog.at_level(logging.INFO, "stzoo"):
        found = find_rate(model, videos, tmp_path / "new", recipe, **HOW)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(numpy(variable), value, err_msg=variable.path)
    assert len(model.trainable_variables) == trained and not model.compiled
    assert model.get_layer("dropout").rate == dropout
    (copy,) = copies
    assert {v.path for v in copy.trainable_variables} == {"fc/kernel", "fc/bias"}
    assert copy.get_layer("dropout").rate == 0.3
    assert copy.optimizer.get_config()["starts"] == {}
    count = len(found.losses)
    assert 2 <= count <= 8 and np.isfinite(found.losses).all()
    expected = 1e-7 * 10 ** np.arange(8)
    np.testing.assert_allclose(found.rates, expected[:count], rtol=1e-6)
    lowest = found.rates[int(np.argmin(found.smoothed))]
    assert found.suggested == pytest.approx(lowest / 10)
    assert f"Suggested learning rate: {found.suggested:.2g}." in caplog.text
    with (tmp_path / "new" / "rates.csv").open(newline="") as file:
        rows = [tuple(map(float, row.values())) for row in csv.DictReader(file)]
    assert rows == list(zip(found.rates, found.losses, found.smoothed, strict=True))
    assert (tmp_path / "new" / "rates.png").read_bytes().startswith(b"\x89PNG")
    again = find_rate(model, videos, tmp_path / "new", recipe, **HOW)
    np.testing.assert_allclose(again.losses, found.losses, rtol=1e-4)


@pytest.mark.parametrize(
    "multi_label", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_losses_are_those_of_the_run(multi_label, motion_folder, tmp_path):
    """Written out for two steps, whose weights are nearly those of the model."""
    videos = datasets.read(motion_folder, multi_label=multi_label)
    recipe = dataclasses.replace(
        RECIPE.resized(batch_size=4), dropout=0.0, mixup=0.8, accumulate=2, sample_fps=9
    )
    given = [("rising", "shaking")]
    how = {"mirror_pairs": given, "class_weight": {"rising": 5.0}, "seed": 3}
    found = find_rate(build(), videos, tmp_path, recipe, 2, reading=Reading(1), **how)

    model, reading = build(), Reading(1, sample_fps=9)
    recipe.prepare(model)
    augment = recipe.augment(model.stzoo.clip, videos.classes, given)
    order = Order(seed=3)
    batches = clips(videos, model.stzoo.clip, 4, True, augment, order, reading)
    loss, expected = recipe.loss((5.0, 1.0), multi_label), []
    for _, (views, labels) in zip(range(2), batches, strict=False):
        halves = [
            float(numpy(loss(labels[part], model(views[part], training=True))))
            for part in (slice(2), slice(2, 4))
        ]
        expected.append(np.mean(halves))
    assert class_weights(videos, how["class_weight"]) == (5.0, 1.0)
    np.testing.assert_allclose(found.losses, expected, rtol=1e-3)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_step_has_its_rate(accumulate):
    """As the optimizer sees it, in all parts of a step."""
    recipe = dataclasses.replace(RECIPE, accumulate=accumulate)
    optimizer = rate._rising(recipe, None, 8)
    for part in range(8 * accumulate):
        optimizer._iterations.assign(part)
        expected = 1e-7 * 10 ** (part // accumulate)
        assert float(numpy(optimizer.learning_rate)) == pytest.approx(expected)


def test_a_test_of_rates_is_one_of_small_data(videos, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(rate, "clips", lambda *args: asked.append(args))
    monkeypatch.setattr(rate, "_losses", lambda *args: asked.append(args) or iter([1]))
    reading = Reading(num_workers=1, decoder="torchcodec")
    find_rate(build(), videos, tmp_path, reading=reading)
    read, (copy, _, accumulate, steps) = asked
    small = RECIPES["small_data"]
    assert (read[2], accumulate) == (small.batch_size, small.accumulate)
    assert type(copy.optimizer) is type(small.optimizer(1))
    assert (read[-2].seed, read[-1], steps) == (0, reading, 100)


@pytest.mark.parametrize(
    "losses, stops",
    # The mean of 1 and 7.2, with weights of 9 and 10, is 4.26, and that of 6.5 is 3.89.
    [((1.0, 7.2, 1.0), 2), ((1.0, 6.5, 1.0), 3)],
)
def test_four_times_the_lowest_loss_is_the_end(losses, stops):
    assert rate._found(iter(losses), 3).losses == losses[:stops]


def test_the_test_stops_when_the_loss_explodes(videos, tmp_path, monkeypatch):
    losses = [2.0, 1.0, 0.5, 9.0, 90.0, 99.0]
    monkeypatch.setattr(rate, "_losses", lambda *_: iter(losses))
    model = build()
    found = find_rate(model, videos, tmp_path, RECIPE, steps=6)
    assert found.losses == (2.0, 1.0, 0.5, 9.0, 90.0)
    average, weight = 0.0, 0.0  # a moving average with weights of powers of 0.9
    for loss, smoothed in zip(found.losses, found.smoothed, strict=True):
        average, weight = 0.9 * average + loss, 0.9 * weight + 1
        assert smoothed == pytest.approx(average / weight)
    assert found.suggested == pytest.approx(found.rates[2] / 10)
    monkeypatch.setattr(rate, "_losses", lambda *_: iter([float("nan")]))
    with pytest.raises(ValueError, match="The loss is not a number at the learning ra"):
        find_rate(model, videos, tmp_path, RECIPE, steps=6)
    with pytest.raises(ValueError, match="Build it with classes=2"):
        find_rate(build(3), videos, tmp_path, RECIPE)
    with pytest.raises(ValueError, match="steps must be at least 2. Received: 1."):
        find_rate(model, videos, tmp_path, RECIPE, steps=1)
    model.get_layer("fc").quantize("int8")
    with pytest.raises(ValueError, match="Test learning rates before it is quantized"):
        find_rate(model, videos, tmp_path, RECIPE)
