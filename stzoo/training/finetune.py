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

import dataclasses
import functools
import hashlib
import json
import logging
from pathlib import Path

from stzoo.data import mirroring
from stzoo.data.mixing import split
from stzoo.data.pipeline import Order, clips, steps
from stzoo.data.reading import Reading
from stzoo.inference.parts import RUN, ensure_same_run
from stzoo.training import devices, multilabel, report
from stzoo.training.averages import Averages
from stzoo.training.losses import Accuracy
from stzoo.training.setup import Setup
from stzoo.training.state import State
from stzoo.weights import hub
from stzoo.weights.adapters import check_floats

logger = logging.getLogger("stzoo")


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
    recipe = RECIPES["small_data"]
    stzoo.finetune(model, train, "runs/mine", recipe, validation)
    ```

    The same with `fit` alone:

    ```python
    from stzoo.data.pipeline import clips, steps

    count = steps(train, recipe.batch_size)
    recipe = recipe.lengthened(count)
    recipe.prepare(model)
    model.compile(recipe.optimizer(count), recipe.loss(), metrics=["accuracy"])
    augment = recipe.augment(model.stzoo.clip, train.classes)
    clip = model.stzoo.clip
    batches = clips(train, clip, recipe.batch_size, train=True, augment=augment)
    model.fit(batches, steps_per_epoch=count, epochs=recipe.epochs, shuffle=False)
    ```
    """
    check_classes(model, train, validation)
    check_floats(model, "Train it before it is quantized.")
    setup = Setup.of(model, train, recipe, reading, mirror_pairs, class_weight)
    recipe, folder = setup.recipe, Path(folder)
    process, processes = devices.shard(recipe.batch_size // recipe.accumulate)
    order = Order(seed=seed, shard=(process, processes))
    batches = functools.partial(_batches, setup, order)
    batches(train, setup.augment)  # an error in the data comes before any file
    _compile(model, setup, train, validation)
    run = _run(model, setup, train, validation, seed)
    _claim(folder, run, process)
    epochs, first = setup.epochs(train)
    report.describe_videos(train, validation)
    report.describe_training(model, recipe, setup.steps(train), epochs)
    patience = recipe.patience if patience is None else patience
    about = _about(recipe, train, validation, seed)
    state = State(folder, train.classes, patience, process == 0, about, first)
    if epoch := state.restore(model):
        logger.info("Resuming after epoch %d of %d.", epoch, epochs)
    devices.agree((run, state.history), processes)
    if not state.finished:
        model.fit(
            **_data(setup, train, validation, batches, epoch),
            initial_epoch=epoch,
            epochs=epochs,
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


def _batches(setup, order, videos, augment=None, **where):
    """Returns batches for training, or for validation without `augment`."""
    order = dataclasses.replace(order, **where)
    size = setup.recipe.batch_size // order.shard[1]
    return clips(
        *(videos, setup.clip, size, bool(augment), augment, order, setup.reading)
    )


def _compile(model, setup, train, validation):
    """Prepares a model for `fit`, and its record for the videos."""
    several = train.multi_label
    record = {"clip": setup.clip, "multi_label": several, "thresholds": ()}
    model.stzoo = dataclasses.replace(model.stzoo, **record)
    measured = validation or train
    setup.recipe.prepare(model)
    model.compile(
        setup.recipe.optimizer(setup.steps(train), model),
        setup.loss(measured),
        weighted_metrics=[
            multilabel.PrecisionRecall(measured) if several else Accuracy()
        ],
    )


def _data(setup, train, validation, batches, epoch):
    """Returns the arguments of `fit` that are the data, from an epoch on."""
    parts, count = setup.recipe.accumulate, setup.steps(train)
    training = batches(train, setup.augment, start=epoch * count)
    data = {
        "x": split(training, parts) if parts > 1 else training,
        "steps_per_epoch": count * parts,
        "shuffle": False,  # batches are already shuffled
    }
    if validation:
        data["validation_data"] = batches(validation, repeat=True)
        size = setup.recipe.batch_size
        data["validation_steps"] = steps(validation, size, False)
    return data


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


def _run(model, setup, train, validation, seed):
    """Returns the settings that identify a run."""

    def listed(videos):
        lines = zip(videos.paths, videos.labels, strict=True)
        return hashlib.sha256(repr(list(lines)).encode()).hexdigest()

    recipe = dataclasses.asdict(setup.recipe)
    del recipe["rematerialize"]  # a run that needs too much memory can go on with it
    run = {
        "builder": model.stzoo.builder,
        "options": model.stzoo.options,
        "clip": dataclasses.asdict(model.stzoo.clip),
        "precision": model.get_layer("normalize").dtype_policy.name,
        "recipe": recipe,
        "seed": seed,
        "train": listed(train),
        "validation": validation and listed(validation),
        "mirrored": _mirrored(train.classes, setup.augment),
        "class_weights": setup.class_weights,
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


def _claim(folder, run, process):
    """Raises a `ValueError` if a folder has a model that is not from this training."""
    if (folder / hub.CONFIG).exists() and not (folder / RUN).exists():
        raise ValueError(f"{folder} already contains a model. Choose another folder.")
    ensure_same_run(folder, run, "training", writes=process == 0)
