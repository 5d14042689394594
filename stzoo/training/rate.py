"""A test of learning rates: which one suits a model, its data and a recipe.

Smith: Cyclical Learning Rates for Training Neural Networks. WACV 2017, Section 3.3.
https://arxiv.org/abs/1506.01186
"""

import csv
import dataclasses
import io
import logging
import math
from dataclasses import dataclass
from importlib.util import find_spec

import keras
import numpy as np

from stzoo import writer
from stzoo.data.mixing import split
from stzoo.data.pipeline import Order, clips
from stzoo.data.reading import Reading
from stzoo.training.finetune import check_classes
from stzoo.training.recipes import named
from stzoo.training.schedules import OverParts
from stzoo.training.setup import Setup
from stzoo.visualize import results as plots
from stzoo.weights.adapters import check_floats

logger = logging.getLogger("stzoo")
SMOOTHING = 0.9  # of the loss
DIVERGED = 4  # times the lowest loss
LEAST, MOST = 1e-7, 1.0  # the first and the last rate


@dataclass(frozen=True)
class Rates:
    """The result of a test of learning rates.

    Args:
        suggested: float, a tenth of the rate with the lowest smoothed loss.
        rates: tuple of floats, the rate of each step.
        losses: tuple of floats, the loss of each step.
        smoothed: tuple of floats, the moving average of the losses.
    """

    suggested: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]


def find_rate(
    model,
    train,
    folder,
    recipe="small_data",
    steps=100,
    seed=0,
    reading=Reading(),
    mirror_pairs=(),
    class_weight=None,
):
    """Trains a copy of a model with a rising learning rate, and suggests a rate.

    The rate rises from 1e-7 to 1. The optimizer, the loss, the batch and the
    augmentation are those of `stzoo.finetune` with the same arguments. All layers that
    the recipe trains are trained from the first step. The test stops when the smoothed
    loss is four times its lowest value. The model is not changed.

    Args:
        model: a model of the zoo.
        train: `stzoo.data.datasets.Videos`.
        folder: path, in which `rates.csv` is written, and `rates.png` if matplotlib is
            installed.
        recipe: `stzoo.training.recipes.Recipe`, or the name of one.
        steps: int, number of rates, at least 2.
        seed: int, seed of the order of videos and of the clips.
        reading: `stzoo.data.reading.Reading`, how videos are read.
        mirror_pairs, class_weight: see `stzoo.finetune`.

    Returns:
        `Rates`.

    Raises:
        ValueError: the classes do not match, the model is quantized, or the loss is not
            a number from the start.

    Example:

    ```python
    from stzoo.training.rate import find_rate

    train = stzoo.read_videos("videos/train")
    model = stzoo.tsm_resnet50(len(train.classes), pretrained="kinetics400")
    print(find_rate(model, train, "runs/rates", steps=10).suggested)
    ```
    """
    check_classes(model, train, None)
    check_floats(model, "Test learning rates before it is quantized.")
    if steps < 2:
        raise ValueError(f"steps must be at least 2. Received: {steps}.")
    recipe = dataclasses.replace(named(recipe), head_first=0.0)
    setup = Setup.of(model, train, recipe, reading, mirror_pairs, class_weight)
    where = (setup.clip, recipe.batch_size, True, setup.augment)
    batches = clips(train, *where, Order(seed=seed), setup.reading)
    copy = _copy(model, recipe, setup.loss(train), steps)
    found = _found(_losses(copy, batches, recipe.accumulate, steps), steps)
    writer.write(folder, _files(found))
    logger.info("Suggested learning rate: %.2g.", found.suggested)
    return found


def _copy(model, recipe, loss, steps):
    """Returns a copy of a model, compiled for rising rates."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    recipe.prepare(copy)
    copy.compile(_rising(recipe, copy, steps), loss)
    return copy


def _losses(model, batches, accumulate, steps):
    """Yields the loss of each step of a training."""
    parts = split(batches, accumulate)
    for _ in range(steps):
        losses = [_trained(model, next(parts)) for _ in range(accumulate)]
        yield sum(losses) / accumulate


def _trained(model, batch):
    """Trains with a part of a batch. Returns its loss."""
    model.reset_metrics()  # older versions of Keras return the mean of all calls
    return float(model.train_on_batch(*batch))


def _found(coming, steps):
    """Returns the result from the losses, until they explode."""
    rates = LEAST * (MOST / LEAST) ** (np.arange(steps) / (steps - 1))
    losses = []
    for loss in coming:
        losses.append(loss)
        best = min(_smoothed(losses))
        if not math.isfinite(loss) or _smoothed(losses)[-1] > DIVERGED * best:
            break
    losses = [loss for loss in losses if math.isfinite(loss)]
    if not losses:
        raise ValueError(
            f"The loss is not a number at the learning rate {LEAST}. Check the model, "
            "or train with float32."
        )
    smoothed = _smoothed(losses)
    suggested = float(rates[int(np.argmin(smoothed))]) / 10
    columns = map(tuple, (rates[: len(losses)].tolist(), losses, smoothed))
    return Rates(suggested, *columns)


def _rising(recipe, model, steps):
    """Returns the optimizer of a recipe with rising rates."""
    schedule = keras.optimizers.schedules.ExponentialDecay(
        LEAST, steps - 1, MOST / LEAST
    )
    if recipe.accumulate > 1:
        schedule = OverParts(schedule, recipe.accumulate)
    optimizer = recipe.optimizer(1, model)
    config = optimizer.get_config()
    config["learning_rate"] = keras.optimizers.schedules.serialize(schedule)
    return type(optimizer).from_config(config)


def _smoothed(losses):
    """Returns the moving average of losses, without the bias of its start."""
    average, result = 0.0, []
    for step, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        result.append(average / (1 - SMOOTHING**step))
    return result


def _files(found):
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["learning_rate", "loss", "smoothed"])
    rows.writerows(zip(found.rates, found.losses, found.smoothed, strict=True))
    files = {"rates.csv": text.getvalue().encode()}
    if find_spec("matplotlib"):
        files["rates.png"] = plots.rates(found)
    return files
