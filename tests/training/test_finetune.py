import csv
import dataclasses
import hashlib
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
from harness import precision
from huggingface_hub import ModelCard
from tiny import RECIPE, build, run

import stzoo
from stzoo.data import datasets
from stzoo.data.reading import Reading
from stzoo.inference.evaluate import evaluate
from stzoo.training.finetune import finetune
from stzoo.training.recipes import RECIPES, named
from stzoo.training.state import State


@pytest.fixture
def videos(motion_folder):
    return datasets.read(motion_folder)


def state(folder):
    with np.load(folder / "state.npz") as file:
        return {name: file[name] for name in file.files}


# Killed in the middle of an epoch, when the last steps are not yet written.
IN_AN_EPOCH = """
class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 4:
            os.kill(os.getpid(), signal.SIGKILL)

fit = keras.Model.fit
keras.Model.fit = lambda self, *args, callbacks, **kwargs: fit(
    self, *args, callbacks=[*callbacks, Kill()], **kwargs
)
"""
# Killed while it writes, when the best model can be newer than the state.
IN_A_WRITE = """
write = os.replace

def die(source, target):
    if str(target).endswith("state.npz") and os.path.exists(target):
        os.kill(os.getpid(), signal.SIGKILL)
    write(source, target)

os.replace = die
"""


@pytest.mark.slow
@pytest.mark.graphs  # as the processes that are killed
@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(IN_AN_EPOCH, id="in an epoch"),
        pytest.param(IN_A_WRITE, id="in a write"),
    ],
)
def test_a_killed_run_resumes_with_the_same_result(
    videos, motion_folder, tmp_path, kill
):
    """It is killed in its second epoch. Results agree bit for bit."""
    whole = run(tmp_path / "whole", videos, validation=videos)
    code = f"""
import os, signal
import keras
from stzoo.data import datasets
from tiny import run
{kill}
videos = datasets.read({str(motion_folder)!r})
run({str(tmp_path / "killed")!r}, videos, validation=videos)
"""
    path = os.pathsep.join((str(Path(tiny.__file__).parent), *sys.path))
    killed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    history = json.loads(str(state(tmp_path / "killed")["history"]))
    assert history == whole[:1]

    resumed = run(tmp_path / "killed", videos, validation=videos)
    assert len(resumed) == 3
    assert resumed == whole
    found, expected = state(tmp_path / "killed"), state(tmp_path / "whole")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    one, other = (stzoo.load(tmp_path / name) for name in ("killed", "whole"))
    for value, expected in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)

    assert run(tmp_path / "killed", videos, validation=videos) == resumed  # no more
    with pytest.raises(ValueError, match="with different seed"):
        run(tmp_path / "killed", videos, validation=videos, seed=1)


def test_the_folder_has_a_model_with_labels_and_curves(videos, tmp_path):
    history = run(tmp_path / "new", videos)
    model = stzoo.load(tmp_path / "new")
    assert model.stzoo.labels == ("rising", "shaking")
    answer = stzoo.predict(model, videos.paths[0])
    assert {label for label, _ in answer} == {"rising", "shaking"}
    rows = list(csv.DictReader((tmp_path / "new" / "log.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in history]
    assert (tmp_path / "new" / "curves.png").read_bytes().startswith(b"\x89PNG")
    card = ModelCard.load(tmp_path / "new" / "README.md")
    for words in ("Recipe: cost", "Videos: 6", "Batch size: 2", "](curves.png)"):
        assert words in card.text, words
    assert card.data.eval_results is None
    assert not list((tmp_path / "new").glob(".*"))


def test_the_log_is_the_history(videos, tmp_path):
    """Three epochs of three steps have the rates of the recipe and Keras' metrics."""
    history = run(tmp_path, videos, validation=videos)
    with (tmp_path / "log.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = ["epoch", "accuracy", "loss", "val_accuracy", "val_loss", "learning_rate"]
    assert list(rows[0]) == columns
    assert [int(row.pop("epoch")) for row in rows] == [1, 2, 3]
    assert [{k: float(v) for k, v in row.items()} for row in rows] == history
    assert json.loads(str(state(tmp_path)["history"])) == history
    schedule = RECIPE.schedule(3)
    for epoch, row in enumerate(history):
        expected = float(keras.ops.convert_to_numpy(schedule(3 * epoch + 3)))
        assert row["learning_rate"] == pytest.approx(expected)
        assert row["val_accuracy"] * 6 == pytest.approx(round(row["val_accuracy"] * 6))
    assert len({row["learning_rate"] for row in history}) > 1
    measured = evaluate(stzoo.load(tmp_path), videos)
    best = max(history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert measured.top1 == pytest.approx(best["val_accuracy"])
    (result,) = ModelCard.load(tmp_path / "README.md").data.eval_results
    assert result.metric_value == best["val_accuracy"]
    assert result.metric_args == {"videos": 6}
    training = stzoo.load(tmp_path).stzoo.training
    assert training["epochs"] == history.index(best) + 1
    figures = {name: best[f"val_{name}"] for name in ("accuracy", "loss")}
    assert training["validation"] == {"videos": 6, **figures}


def test_a_run_can_go_on_with_less_memory(videos, tmp_path):
    history = run(tmp_path, videos)
    again = dataclasses.replace(RECIPE, rematerialize=True)
    assert finetune(build(), videos, tmp_path, again, verbose=0) == history


def test_a_run_is_identified_by_all_its_settings(videos, tmp_path):
    other = dataclasses.replace(
        videos, paths=videos.paths[:4], labels=videos.labels[:4]
    )
    run(tmp_path, videos, validation=other, seed=5)
    found = json.loads((tmp_path / "run.json").read_text("utf-8"))

    def listed(videos):
        pairs = list(zip(videos.paths, videos.labels, strict=True))
        return hashlib.sha256(repr(pairs).encode()).hexdigest()

    clip = found.pop("clip")
    assert (clip["frames"], clip["height"], clip["width"]) == (2, 32, 32)
    recipe = found.pop("recipe")
    expected = json.loads(json.dumps(dataclasses.asdict(RECIPE)))
    del expected["rematerialize"]
    assert recipe == expected
    assert found == {
        "builder": "c2d_tiny",
        "options": {"pooling": "code", "width": 4, "depths": [1, 1]},
        "precision": "float32",
        "seed": 5,
        "train": listed(videos),
        "validation": listed(other),
        "mirrored": None,
        "class_weights": None,
    }
    with pytest.raises(ValueError, match="with different validation"):
        run(tmp_path, videos, seed=5)


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([(0.5, 1.0), (0.7, 2.0), (0.6, 0.1)], 1),
        (
            [(0.5, 1.0), (0.5, 0.9), (0.5, 1.1)],
            1,
        ),  # same accuracy, lower loss
        ([(0.5, 1.0), (0.5, 1.0)], 0),  # the first of equal epochs
        ([(None, 1.0), (None, 2.0)], 1),  # the last epoch without validation
    ],
)
def test_which_epoch_is_the_best(rows, best, tmp_path):
    found = State(tmp_path, ("a", "b"), patience=2, write=False)
    assert not found.finished
    for accuracy, loss in rows:
        row = {"loss": 3.0}
        if accuracy is not None:
            row |= {"val_accuracy": accuracy, "val_loss": loss}
        found.history.append(row)
    assert found.best == best
    assert found.finished == (len(rows) - 1 - best >= 2)
    found.patience = 1
    assert found.finished == (len(rows) - 1 - best >= 1)
    found.patience = None
    assert not found.finished


def test_early_stop_keeps_the_best(videos, tmp_path, monkeypatch):
    """Training stops when the validation gets worse, and does not resume."""
    accuracies = iter((0.9, 0.8, 0.7))
    monkeypatch.setattr(
        keras.Model,
        "evaluate",
        lambda *_, **__: {"loss": 1.0, "accuracy": next(accuracies)},
    )
    history = run(tmp_path, videos, validation=videos, patience=1)
    assert [row["val_accuracy"] for row in history] == [0.9, 0.8]
    assert run(tmp_path, videos, validation=videos, patience=1) == history
    first, last = stzoo.load(tmp_path).get_weights(), state(tmp_path)
    assert any((first[0] != last["0"]).ravel())


def test_mixed_precision(videos, tmp_path):
    with precision("mixed_bfloat16"):
        history = run(tmp_path, videos)
    assert np.isfinite(history[-1]["loss"])
    assert stzoo.load(tmp_path).get_weights()[0].dtype == "float32"


def test_mirrored_classes_are_logged_and_belong_to_the_run(videos, tmp_path, caplog):
    left = dataclasses.replace(videos, classes=("turn_left", "turn_right"))
    with caplog.at_level("INFO", "stzoo"):
        run(tmp_path / "left", left)
    assert "turn_left <-> turn_right" in caplog.text
    kept = json.loads((tmp_path / "left" / "run.json").read_text())["mirrored"]
    assert kept == {"turn_left": "turn_right", "turn_right": "turn_left"}
    same = [("turn_left", "turn_left"), ("turn_right", "turn_right")]
    with pytest.raises(ValueError, match="with different mirrored"):
        run(tmp_path / "left", left, mirror_pairs=same)
    upright = dataclasses.replace(RECIPE, flip=False)
    with pytest.raises(ValueError, match="flip=False no clip is mirrored"):
        finetune(build(), left, tmp_path / "x", upright, mirror_pairs=same)
    with pytest.raises(ValueError, match="'up' is not one of the 2 classes"):
        run(tmp_path / "x", videos, mirror_pairs=[("up", "rising")])
    assert not (tmp_path / "x").exists()


def test_given_callbacks_are_called(videos, tmp_path):
    seen = []

    def note(epoch, logs):
        seen.append((epoch, logs["loss"], (tmp_path / "new" / "log.csv").exists()))

    callback = keras.callbacks.LambdaCallback(on_epoch_end=note)
    history = run(tmp_path / "new", videos, callbacks=[callback])
    assert seen == [(n, row["loss"], True) for n, row in enumerate(history)]


def test_a_recipe_by_its_name(videos, tmp_path):
    assert named("cost") is RECIPES["cost"] and named(RECIPE) is RECIPE
    with pytest.raises(
        ValueError, match="no recipe 'sgd'. Choose one of small_data, cost, cost_"
    ):
        finetune(build(), videos, tmp_path / "new", "sgd")
    with pytest.raises(ValueError, match="do not fill a batch of 64"):
        finetune(build(), videos, tmp_path / "new", "cost")
    assert not (tmp_path / "new").exists()


def test_an_error_writes_nothing(videos, tmp_path):
    with pytest.raises(ValueError, match="Build it with classes=2"):
        finetune(build(3), videos, tmp_path / "new", RECIPE)
    other = datasets.Videos(videos.paths, videos.labels, videos.classes[::-1])
    with pytest.raises(ValueError, match="classes=train.classes"):
        run(tmp_path / "new", videos, validation=other)
    quantized = build(2)
    quantized.get_layer("fc").quantize("int8")
    with pytest.raises(ValueError, match=r"int8: fc\). Train it before"):
        finetune(quantized, videos, tmp_path / "new", RECIPE)
    assert not (tmp_path / "new").exists()
    stzoo.save(build(), tmp_path / "model")
    before = (tmp_path / "model" / "config.json").read_bytes()
    with pytest.raises(ValueError, match="already contains a model"):
        run(tmp_path / "model", videos)
    assert (tmp_path / "model" / "config.json").read_bytes() == before


MODERN = dataclasses.replace(
    RECIPES["small_data"].resized(epochs=2, batch_size=4),
    **dict(mixup=0.8, cutmix=1.0, randaugment=(2, 5), area=(0.3, 1.0), repeats=2),
    **dict(ema=0.7, accumulate=2, head_first=0.0, label_smoothing=0.1),
)
TWO_PHASES = dataclasses.replace(
    RECIPES["small_data"].resized(epochs=4, batch_size=2), head_first=0.25, warmup=0.5
)


def train(folder, videos, recipe=TWO_PHASES, **kwargs):
    return finetune(
        build(), videos, folder, recipe, verbose=0, reading=Reading(1), **kwargs
    )


class Interrupt(keras.callbacks.Callback):
    """Raises the error of Ctrl+C in the middle of an epoch."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == self.step:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("step", [4, 7])  # in the first epoch of all layers, and after
def test_a_run_of_two_phases_resumes_with_the_same_result(
    videos, tmp_path, step, caplog
):
    whole = train(tmp_path / "whole", videos, validation=videos)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", videos, validation=videos, callbacks=[Interrupt(step)])
    caplog.clear()
    with caplog.at_level("INFO", "stzoo"):
        resumed = train(tmp_path / "cut", videos, validation=videos)
    assert f"Resuming after epoch {step // 3} of 4." in caplog.text
    assert resumed == whole and len(whole) == 4
    found, expected = state(tmp_path / "cut"), state(tmp_path / "whole")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_the_head_is_trained_first(videos, tmp_path):
    """After the first of four epochs, only the head has changed."""
    start = {v.path: keras.ops.convert_to_numpy(v) for v in build().weights}
    changed = []

    def note(epoch, logs):
        model = callback.model
        now = {v.path: keras.ops.convert_to_numpy(v) for v in model.trainable_weights}
        changed.append({p for p in now if (now[p] != start[p]).any()})

    callback = keras.callbacks.LambdaCallback(on_epoch_end=note)
    train(tmp_path, videos, callbacks=[callback])
    assert changed[0] == {"fc/kernel", "fc/bias"}
    assert "conv1/kernel" in changed[1] and "layer2_0_conv1/kernel" in changed[1]


def test_small_data_is_the_default(videos, tmp_path):
    few = dataclasses.replace(videos, paths=videos.paths * 2, labels=videos.labels * 2)
    finetune(build(), few, tmp_path, callbacks=[Stop()], verbose=0)
    recipe = json.loads((tmp_path / "run.json").read_text("utf-8"))["recipe"]
    assert recipe["name"] == "small_data"


class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


@pytest.mark.slow
def test_patience_is_that_of_the_recipe_and_starts_with_all_layers(
    videos, tmp_path, monkeypatch
):
    """It counts from the second epoch, since the first one trains only the head."""
    accuracies = iter((0.9, 0.8, 0.8, 0.8) * 3)
    monkeypatch.setattr(
        keras.Model,
        "evaluate",
        lambda *_, **__: {"loss": 1.0, "accuracy": next(accuracies)},
    )
    eager = dataclasses.replace(TWO_PHASES, patience=1)
    assert len(train(tmp_path / "a", videos, eager, validation=videos)) == 3
    accuracies = iter((0.9, 0.8, 0.8, 0.8))
    assert len(train(tmp_path / "b", videos, eager, validation=videos, patience=0)) == 4


def test_a_loss_that_is_not_a_number_keeps_the_last_good_epoch(videos, tmp_path):
    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == self.params["epoch"]:
                bias = self.model.get_layer("fc").bias
                bias.assign(np.full(bias.shape, np.nan))

        def set_params(self, params):
            self.params = {"epoch": number}

    number = 2
    with pytest.raises(ValueError) as error:
        train(tmp_path / "late", videos, validation=videos, callbacks=[Break()])
    history = json.loads(str(state(tmp_path / "late")["history"]))
    assert len(history) == 2 and all(np.isfinite(row["loss"]) for row in history)
    assert all(
        np.isfinite(w).all() for w in stzoo.load(tmp_path / "late").get_weights()
    )
    kept = max(history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert str(error.value) == (
        "The loss became infinite or NaN in epoch 3, so the training stopped. "
        f"{tmp_path / 'late'} keeps epoch {history.index(kept) + 1}. Train again in "
        "another folder with a smaller learning rate (now 0.0005), or with float32 if "
        "this was mixed precision."
    )
    number = 0
    with pytest.raises(ValueError, match="epoch 1, so .* has no model yet"):
        train(tmp_path / "early", videos, callbacks=[Break()])
    assert not (tmp_path / "early" / "config.json").exists()


def test_class_weights_reach_the_loss_and_belong_to_the_run(videos, tmp_path):
    model = build()
    given = dict(verbose=0, class_weight={"rising": 3.0})
    once = dataclasses.replace(TWO_PHASES, label_smoothing=0.2)
    finetune(model, videos, tmp_path, once.resized(epochs=1), **given)
    assert model.loss.class_weights == (3.0, 1.0)
    assert model.loss.label_smoothing == 0.2
    known = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert known["class_weights"] == [3.0, 1.0]
    with pytest.raises(ValueError, match="with different class_weights"):
        finetune(build(), videos, tmp_path, once.resized(epochs=1), verbose=0)


def test_a_model_that_is_prepared_otherwise_is_not_resumed(videos, tmp_path):
    train(tmp_path, videos, TWO_PHASES.resized(epochs=1))
    model = build()
    model.get_layer("conv1").trainable = False
    with pytest.raises(ValueError, match="other layers were trained. Build the model"):
        finetune(model, videos, tmp_path, TWO_PHASES.resized(epochs=1), verbose=0)


def test_a_run_tells_what_it_does(videos, tmp_path, caplog):
    with caplog.at_level("INFO", "stzoo"):
        history = train(tmp_path, videos, validation=videos, patience=0)
    best = max(history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    for line in (
        "6 training videos of 2 classes, 3 of each.",
        "6 of 6 validation videos are also training videos",
        "Recipe small_data: 4 epochs of 3 steps of 2 clips, adamw with a learning rate",
        "In the first 3 steps, only the head is trained.",
        "Stopped after epoch 4 of 4, the last one.",
        f"Kept epoch {history.index(best) + 1}, the best one. Accuracy on the "
        f"validation videos: {100 * best['val_accuracy']:.1f} %. Always guessing the "
        "largest class (rising): 50.0 %.",
        f"`stzoo evaluate DATA --model {tmp_path} --out {tmp_path}` shows wrong answe",
    ):
        assert line in caplog.text, line


@pytest.mark.graphs
@pytest.mark.slow
def test_a_run_with_everything_resumes_with_the_same_result(videos, tmp_path):
    """Mixed labels in training, and classes in validation."""
    how = dict(validation=videos, class_weight={"rising": 2.0})
    whole = train(tmp_path / "whole", videos, MODERN, **how)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", videos, MODERN, callbacks=[Interrupt(4)], **how)
    resumed = train(tmp_path / "cut", videos, MODERN, **how)
    assert resumed == whole and len(whole) == 2
    found, expected = state(tmp_path / "cut"), state(tmp_path / "whole")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.slow
def test_the_averaged_weights_are_validated_and_kept(videos, tmp_path):
    """They follow from the weights after each step, which the state has."""
    steps = []

    def note(batch, logs):
        model = callback.model
        steps.append([keras.ops.convert_to_numpy(v) for v in model.trainable_variables])

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=note)
    recipe = dataclasses.replace(TWO_PHASES, ema=0.6, head_first=0.0, patience=None)
    history = train(tmp_path, videos, recipe, validation=videos, callbacks=[callback])
    best = max(
        range(4),
        key=lambda n: (history[n]["val_accuracy"], -history[n]["val_loss"], -n),
    )
    average = steps[0]
    for weights in steps[1 : 3 * (best + 1)]:
        pairs = zip(average, weights, strict=True)
        average = [0.6 * mean + 0.4 * value for mean, value in pairs]
    kept = stzoo.load(tmp_path)
    values = {v.path: keras.ops.convert_to_numpy(v) for v in kept.trainable_variables}
    names = [v.path for v in callback.model.trainable_variables]
    for name, value in zip(names, average, strict=True):
        np.testing.assert_allclose(values[name], value, rtol=1e-4, atol=1e-6)
    measured = evaluate(kept, videos)
    assert measured.top1 == pytest.approx(history[best]["val_accuracy"])
    last = dict(zip(names, steps[-1], strict=True))
    assert any((last[name] != values[name]).any() for name in names)


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_the_whole_batch(videos, tmp_path):
    """All batch norms are frozen. Clips are mixed before a batch is split."""
    settings = dict(dropout=0.0, momentum=0.5, mixup=0.8)
    recipe = dataclasses.replace(
        RECIPES["cost"].resized(epochs=2, batch_size=4), **settings
    )
    weights = {}
    for parts in (1, 2):
        model = build()
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        how = dataclasses.replace(recipe, accumulate=parts)
        folder = tmp_path / str(parts)
        finetune(model, videos, folder, how, verbose=0, reading=Reading(1))
        weights[parts] = {v.path: v for v in stzoo.load(folder).trainable_variables}
    start = {v.path: keras.ops.convert_to_numpy(v) for v in build().trainable_variables}
    moved = 0
    for name, value in weights[1].items():
        value, other = map(keras.ops.convert_to_numpy, (value, weights[2][name]))
        step = np.abs(value - start[name]).max()
        assert np.abs(value - other).max() <= 1e-3 * step + 1e-7, name
        moved += step > 0
    assert moved > 4
