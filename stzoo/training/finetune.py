"""Resumable fine-tuning.

Training uses `compile` and `fit` of Keras. After each epoch, a callback writes the
state of the training: weights, momenta, the state of dropout, and the log. The order of
videos and clips depends only on the seed and the number of the step. So a killed run
resumes after its last complete epoch, with the same result as a run that was not
killed: bit for bit on one machine, with the same libraries and the same settings of the
backend (measured on two cores with TensorFlow, JAX and PyTorch, with one thread and
with two). Another processor or another setting, such as TensorFlow with and without
oneDNN, rounds sums differently. Training amplifies this: the losses of the three epochs
in the tests then differ by relative errors of 2e-5, 4e-3 and 8e-2. Several processes,
see `devices`, are one run. The first process writes the files.
"""

import csv
import dataclasses
import functools
import hashlib
import io
import json
import logging
import math
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
from keras import ops

from stzoo import writer
from stzoo.data import mirroring
from stzoo.data.mixing import split
from stzoo.data.pipeline import Order, clips, steps
from stzoo.data.reading import Reading
from stzoo.inference.parts import RUN, ensure_same_run
from stzoo.training import devices, multilabel, report
from stzoo.training.averages import Averages, averaged
from stzoo.training.losses import Accuracy
from stzoo.training.setup import Setup
from stzoo.visualize import results as plots
from stzoo.weights import card, checkpoint, hub
from stzoo.weights.adapters import check_floats
from stzoo.weights.config import ModelConfig

logger = logging.getLogger("stzoo")
STATE = "state.npz"


def finetune(
    model,
    train,
    folder,
    recipe="small_data",
    validation=None,
    seed=0,
    patience=None,
    callbacks=(),
    reading=Reading(),
    verbose="auto",
    mirror_pairs=(),
    class_weight=None,
):
    """Trains a model and writes it as a folder in the layout of the Hub.

    The folder contains:

    * the best model (`stzoo.load(folder)`), which has the highest accuracy on
      `validation`. Without validation, it is the last one. If a video can have several
      labels (`train.multi_label`), it has the highest area under the curve of precision
      over recall, and its thresholds are those with the best F1 on `validation`. After
      a training by several processes, call
      `stzoo.training.multilabel.choose_thresholds`;
    * `log.csv`, and `curves.png` if matplotlib is installed (the extra `plots`);
    * `README.md`, the model card. An edited card is kept;
    * `run.json`, the settings of the run;
    * `state.npz`, the last complete epoch. The next call with the same arguments
      resumes from it, with the same result (see the module docstring for the
      conditions). It can be deleted after the training.

    On several devices, see `stzoo.training.devices.distribute`, the batch of the recipe
    is the batch over all devices. Several machines must share the folder.

    Args:
        model: a model of the zoo. For reproducible results, call
            `keras.utils.set_random_seed` before building it. For mixed precision, call
            `keras.config.set_dtype_policy("mixed_bfloat16")` before building it.
        train: `stzoo.data.datasets.Videos`.
        folder: path. It is created if it does not exist.
        recipe: `stzoo.training.recipes.Recipe`, or the name of one. The default,
            `"small_data"`, is for few videos and weights that were trained on videos.
            Its fields can be changed:
            `dataclasses.replace(RECIPES["small_data"], learning_rate=3e-4)`.
        validation: `stzoo.data.datasets.Videos` with the same classes, or `None`.
        seed: int, seed of the order of videos and of the clips.
        patience: int, number of epochs without improvement after which training stops.
            0: it does not stop early. Defaults to that of the recipe.
        callbacks: callbacks of Keras, such as `keras.callbacks.TensorBoard`. With
            several processes, only the first one calls them.
        reading: `stzoo.data.reading.Reading`, how videos are read: the number of
            threads, the decoder, and whether videos that cannot be decoded are skipped.
        verbose: see `keras.Model.fit`.
        mirror_pairs: pairs of classes that are mirror images of each other, if their
            names do not show it: tuples of two names, or the path of a file with two
            names per line, see `stzoo.data.mirroring.mirror_pairs`. To disable
            mirroring, pass `dataclasses.replace(recipe, flip=False)`.
        class_weight: weights of the classes in the loss: `"balanced"`, a dict from
            names to weights, or the path of a file, see
            `stzoo.training.weighting.class_weights`.

    Returns:
        List of dicts, the log of each epoch.

    Raises:
        ValueError: the classes do not match, the model is quantized, the folder has
            other content, the devices cannot share a batch equally, or the loss is not
            a number any more. In the last case, the folder keeps the last good epoch.

    Example:

    ```python
    from stzoo.training.recipes import RECIPES

    train = stzoo.read_videos("videos/train")
    validation = stzoo.read_videos("videos/validation", classes=train.classes)
    model = stzoo.tsm_resnet50(len(train.classes), pretrained="kinetics400")
    recipe = RECIPES["small_data"].resized(epochs=20, batch_size=8)
    stzoo.finetune(model, train, "runs/mine", recipe, validation)
    ```

    The same with `fit` alone:

    ```python
    from stzoo.data.pipeline import clips, steps

    recipe.prepare(model)
    count = steps(train, recipe.batch_size)
    model.compile(recipe.optimizer(count), recipe.loss(), metrics=["accuracy"])
    augment = recipe.augment(model.stzoo.clip, train.classes)
    clip = model.stzoo.clip
    batches = clips(train, clip, recipe.batch_size, train=True, augment=augment)
    model.fit(batches, steps_per_epoch=count, epochs=recipe.epochs, shuffle=False)
    ```
    """
    check_classes(model, train, validation)
    check_floats(model, "Train it before it is quantized.")
    folder = Path(folder)
    setup = Setup.of(model, train, recipe, reading, mirror_pairs, class_weight)
    recipe, augment = setup.recipe, setup.augment
    count = steps(train, recipe.batch_size, repeats=recipe.repeats)
    process, processes = devices.shard(recipe.batch_size // recipe.accumulate)
    batches = functools.partial(
        _batches,
        clip=setup.clip,
        batch_size=recipe.batch_size // processes,
        order=Order(seed=seed, shard=(process, processes)),
        reading=setup.reading,
    )
    batches(train, augment)  # errors in the data are raised before anything is written
    kind = {"multi_label": train.multi_label, "thresholds": ()}
    model.stzoo = dataclasses.replace(model.stzoo, clip=setup.clip, **kind)
    _compile(model, setup, count, validation or train)
    run = _run(model, train, validation, recipe, seed)
    run["mirrored"] = _mirrored(train.classes, augment)
    run["class_weights"] = setup.class_weights and list(setup.class_weights)
    _ensure_no_model(folder)
    ensure_same_run(folder, run, "training", writes=process == 0)
    report.describe_videos(train, validation)
    epochs = math.ceil(recipe.steps(count) / count)
    report.describe_training(model, recipe, count, epochs)
    patience = recipe.patience if patience is None else patience
    state = _State(folder, train.classes, patience, write=process == 0)
    state.about = _about(recipe, train, validation, seed)
    state.first = math.ceil(recipe.first_steps(count) / count)
    if epoch := state.restore(model):
        logger.info("Resuming after epoch %d of %d.", epoch, epochs)
    devices.agree((run, state.history), processes)
    if not state.finished:
        model.fit(
            _parts(batches(train, augment, start=epoch * count), recipe.accumulate),
            shuffle=False,  # batches are already shuffled
            steps_per_epoch=count * recipe.accumulate,
            initial_epoch=epoch,
            epochs=epochs,
            **_validation(validation, recipe, batches),
            callbacks=[Averages(), state, *(callbacks if process == 0 else ())],
            verbose=verbose if process == 0 else 0,
        )
        state.ensure_finite(recipe)
        devices.agree(len(state.history), processes)  # the folder is complete
    if train.multi_label and processes == 1:
        multilabel.choose_thresholds(folder, validation, setup.reading)
    report.describe_result(state.history, state.best, epochs, train, validation)
    if validation and not train.multi_label:
        report.describe_mistakes(folder)
    return state.history


def _validation(videos, recipe, batches):
    """Returns the arguments of `fit` for the validation videos, if there are any."""
    if not videos:
        return {}
    return {
        "validation_data": batches(videos, repeat=True),
        "validation_steps": steps(videos, recipe.batch_size, False),
    }


def _batches(videos, augment=None, *, clip, batch_size, order, reading, **where):
    """Returns batches for training, or for validation without `augment`."""
    order = dataclasses.replace(order, **where)
    return clips(videos, clip, batch_size, bool(augment), augment, order, reading)


def _parts(batches, count):
    """Returns batches, each split in parts if gradients are accumulated."""
    return split(batches, count) if count > 1 else batches


def _compile(model, setup, steps_per_epoch, measured):
    several = measured.multi_label
    metric = multilabel.PrecisionRecall(measured) if several else Accuracy()
    setup.recipe.prepare(model)
    optimizer = setup.recipe.optimizer(steps_per_epoch, model)
    model.compile(optimizer, setup.loss(measured), weighted_metrics=[metric])


class _State(keras.callbacks.Callback):
    """Writes the last complete epoch, and the best one as the model of the folder."""

    def __init__(self, folder, labels, patience, write):
        super().__init__()
        self.folder, self.labels, self.patience = folder, labels, patience
        self.write = write
        self.about = {}
        self.history = []
        self.first = 0  # epochs of the head alone
        self.is_finite = True

    @property
    def best(self):
        """The index of the best epoch."""
        names = [n for n in ("val_accuracy", "val_pr_auc") if n in self.history[0]]
        if not names:
            return len(self.history) - 1
        values = [(row[names[0]], -row["val_loss"]) for row in self.history]
        return values.index(max(values))

    @property
    def finished(self):
        """Whether training stops because of `patience`."""
        if not self.patience or not self.history:
            return False
        return len(self.history) - 1 - max(self.best, self.first) >= self.patience

    def on_train_batch_end(self, batch, logs=None):
        if logs and not math.isfinite(logs["loss"]):
            self.is_finite, self.model.stop_training = False, True

    def ensure_finite(self, recipe):
        """Raises a `ValueError` if the loss was not a number."""
        if self.is_finite:
            return
        kept = f"{self.folder} has no model yet"
        if self.history:
            kept = f"{self.folder} keeps epoch {self.best + 1}"
        raise ValueError(
            f"The loss became infinite or NaN in epoch {len(self.history) + 1}, so the "
            f"training stopped. {kept}. Train again in another folder with a smaller "
            f"learning rate (now {recipe.learning_rate:.3g}), or with float32 if this "
            "was mixed precision."
        )

    def on_epoch_end(self, epoch, logs=None):
        if not self.is_finite:
            return
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs = {name: float(value) for name, value in logs.items()}
        self.history.append({**logs, "learning_rate": rate})
        self.model.stop_training = self.finished
        if not self.write:
            return
        if self.best == epoch:
            training = self._training()
            with averaged(self.model):
                checkpoint.save(self.model, self.folder, self.labels, training=training)
        files = {"log.csv": self._log(), STATE: self._state()}
        if find_spec("matplotlib"):
            files["curves.png"] = plots.curves(self.history, self.best)
        config = ModelConfig.from_json(writer.read(self.folder, hub.CONFIG))
        writer.write(self.folder, files | card.files(config, self.folder, coming=files))

    def restore(self, model):
        """Restores the last complete epoch. Returns the number of epochs so far."""
        if not (self.folder / STATE).exists():
            return 0
        model.optimizer.build(model.trainable_variables)
        variables = _variables(model)
        with np.load(self.folder / STATE) as state:
            self.history = json.loads(str(state["history"]))
            values = [state[str(number)] for number in range(len(state.files) - 1)]
        if len(values) != len(variables):
            raise ValueError(
                f"{self.folder} has a run in which other layers were trained. Build "
                "the model anew, as for the first call."
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return len(self.history)

    def _state(self):
        values = [ops.convert_to_numpy(v.value) for v in _variables(self.model)]
        numbered = {str(number): value for number, value in enumerate(values)}
        file = io.BytesIO()
        np.savez(file, history=json.dumps(self.history), **numbered)
        return file.getvalue()

    def _training(self):
        """What the record of the model says of its training."""
        last, training = self.history[-1], {**self.about, "epochs": len(self.history)}
        if "validation" in training:
            names = ("accuracy", "pr_auc", "loss")
            figures = {n: last[f"val_{n}"] for n in names if f"val_{n}" in last}
            training["validation"] = {**training["validation"], **figures}
        return training

    def _log(self):
        text = io.StringIO()
        rows = csv.DictWriter(text, ["epoch", *self.history[0]])
        rows.writeheader()
        for epoch, row in enumerate(self.history, start=1):
            rows.writerow({"epoch": epoch, **row})
        return text.getvalue().encode()


def _variables(model):
    """Returns the variables that training changes: weights, seeds, optimizer state."""
    return [*model.variables, *model.optimizer.variables]


def check_classes(model, train, validation):
    """Raises a `ValueError` if videos do not have the classes of a model."""
    if not train.labels:
        raise ValueError("The videos have no classes, so there is nothing to learn.")
    if len(train.classes) != model.stzoo.classes:
        raise ValueError(
            f"The videos have {len(train.classes)} classes, but the model has "
            f"{model.stzoo.classes}. Build it with classes={len(train.classes)}."
        )
    if validation and validation.classes != train.classes:
        raise ValueError(
            "The validation videos must have the classes of the training videos, in "
            "the same order. Read them with classes=train.classes."
        )
    if validation and validation.multi_label != train.multi_label:
        raise ValueError(
            "The validation videos must have as many labels a video as the training "
            "videos: one, or several. Read both with the same multi_label."
        )


def _about(recipe, train, validation, seed):
    """Returns the facts of a training for its model card."""
    about = {
        "recipe": recipe.name,
        "recipe_source": recipe.source,
        "learning_rate": recipe.learning_rate,
        "batch_size": recipe.batch_size,
        "seed": seed,
        "videos": len(train),
    }
    return about | ({"validation": {"videos": len(validation)}} if validation else {})


def _run(model, train, validation, recipe, seed):
    """Returns the settings that identify a run."""

    def listed(videos):
        lines = zip(videos.paths, videos.labels, strict=True)
        return hashlib.sha256(repr(list(lines)).encode()).hexdigest()

    run = {
        "builder": model.stzoo.builder,
        "options": model.stzoo.options,
        "clip": dataclasses.asdict(model.stzoo.clip),
        "precision": model.get_layer("normalize").dtype_policy.name,
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "train": listed(train),
        "validation": validation and listed(validation),
    }
    return json.loads(json.dumps(run))


def _mirrored(classes, augment):
    """Logs and returns the labels of mirrored clips, or `None` if none changes."""
    if not augment.flip:
        logger.info("Clips are not mirrored.")
        return None
    logger.info("%s", mirroring.describe(classes, augment.pairs))
    named = {
        classes[number]: None if other is None else classes[other]
        for number, other in augment.pairs.items()
    }
    return named or None


def _ensure_no_model(folder):
    """Raises a `ValueError` if a folder has a model that is not from this training."""
    if (folder / hub.CONFIG).exists() and not (folder / RUN).exists():
        raise ValueError(f"{folder} already contains a model. Choose another folder.")
