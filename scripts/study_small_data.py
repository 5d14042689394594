"""python scripts/study_small_data.py --out runs/small_data

Measures recipes for few videos: renders small data sets, fine-tunes the shipped tiny
weights with a new head on them, and measures the last epoch on unseen videos. Appends a
row to --csv after each run. Runs that have a row are not repeated. --videos is a number
for each class, and --unseen the number of those to measure on. --set FIELD=VALUE
changes a field of the recipe:

    python scripts/study_small_data.py --out runs/small_data --models p3d_tiny \\
        --videos 5 10 --batches 4 32 --set learning_rate=0.001 --set head_rate=1

The weights know the classes of `motion`, and of `skewed` and `noisy`, which are the
same videos with a tenth as many of the last class as of the first, and with a wrong
label for each fifth video. They know no class of the others: `inverted` has four
motions in inverted colours, at half the speed, with noise. `speed`, `flicker` and
`texture` show how fast a texture moves, how its light changes, and how coarse it is.
"""

import argparse
import ast
import csv
import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

import stzoo
from stzoo.data import motions
from stzoo.data.datasets import Videos
from stzoo.data.pipeline import clips, steps
from stzoo.training.recipes import RECIPES

MODELS = ("cost_tiny", "p3d_tiny", "tsm_tiny", "cstm_tiny")
KEYS = ("model", "data", "videos", "unseen", "batch", "seed", "recipe", "changed")


@dataclasses.dataclass(frozen=True)
class Data:
    """A rendered data set.

    Args:
        classes: tuple of strings.
        render: function of a seed and a class that returns the frames of a video.
        rarest: float, videos of the last class in training, as a share of the first.
        wrong: float, share of the training videos with a wrong label.
    """

    classes: tuple[str, ...]
    render: Callable
    rarest: float = 1.0
    wrong: float = 0.0

    def deal(self, videos, rng):
        """Draws the classes of the training videos and their labels.

        Args:
            videos: int, number of videos of the first class.
            rng: `numpy.random.Generator`.

        Returns:
            Two int arrays: what the videos show, and what their labels say.
        """
        shares = self.rarest ** np.linspace(0, 1, len(self.classes))
        counts = np.ceil(videos * shares).astype(int)
        rounds = np.arange(videos)[:, None] < counts
        shown = np.nonzero(rounds)[1]
        labels = shown.copy()
        wrong = rng.permutation(len(labels))[: round(self.wrong * len(labels))]
        others = rng.integers(1, len(self.classes), len(wrong))
        labels[wrong] = (labels[wrong] + others) % len(self.classes)
        return shown, labels


def show_motion(seed, name):
    return motions.render(seed, motion=name)[0]


def show_shape(seed, name):
    return motions.render(seed, shape=name)[0]


def show_inverted(seed, name):
    frames = np.repeat(show_motion(seed, name)[5:16], 2, axis=0)[:21]
    return noisy(215 - 0.7 * frames, np.random.default_rng(seed), 12)


def show_speed(seed, name):
    rng = np.random.default_rng(seed)
    return noisy(moving_texture(rng, SPEEDS[name]), rng, 6)


def show_flicker(seed, name):
    rng = np.random.default_rng(seed)
    frames = moving_texture(rng, speed=0)
    turns = FLICKERS[name] * np.arange(len(frames)) / motions.FPS
    light = 1 + 0.35 * np.sin(2 * np.pi * (turns + rng.uniform()))
    return noisy(frames * light[:, None, None, None], rng, 6)


def show_texture(seed, name):
    rng = np.random.default_rng(seed)
    return noisy(moving_texture(rng, speed=1, lengths=TEXTURES[name]), rng, 6)


def moving_texture(rng, speed, lengths=(12, 40)):
    """Renders waves of random colours and directions that move together.

    Args:
        rng: `numpy.random.Generator`.
        speed: float, pixels for each frame, in a random direction.
        lengths: the shortest and the longest wave, in pixels.

    Returns:
        Float array `(21, 80, 80, 3)`.
    """
    frames = np.full((21, 80, 80, 3), rng.uniform(80, 150, 3))
    time, y, x = np.ogrid[:21, :80, :80]
    angle = rng.uniform(0, 2 * np.pi)
    x, y = x - speed * time * np.cos(angle), y - speed * time * np.sin(angle)
    for _ in range(6):
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        position = (x * np.cos(angle) + y * np.sin(angle)) / rng.uniform(*lengths)
        wave = np.sin(2 * np.pi * position + phase)
        frames += wave[..., None] * rng.uniform(-25, 25, 3)
    return frames


def noisy(frames, rng, deviation):
    noise = rng.normal(0, deviation, frames.shape)
    return np.clip(frames + noise, 0, 255).astype("uint8")


SPEEDS = {"still": 0, "slow": 1.2, "fast": 4}  # pixels for each frame
FLICKERS = {"steady": 0, "slow": 1, "fast": 2.5}  # cycles for each second
TEXTURES = {"fine": (5, 9), "medium": (11, 19), "coarse": (23, 40)}  # pixels
DATA = {
    "motion": Data(motions.CLASSES, show_motion),
    "skewed": Data(motions.CLASSES, show_motion, rarest=0.1),
    "noisy": Data(motions.CLASSES, show_motion, wrong=0.2),
    "shape": Data(motions.SHAPES, show_shape),
    "inverted": Data(("rising", "falling", "approaching", "shaking"), show_inverted),
    "speed": Data(tuple(SPEEDS), show_speed),
    "flicker": Data(tuple(FLICKERS), show_flicker),
    "texture": Data(tuple(TEXTURES), show_texture),
}


def main(arguments=None):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="folder of the videos")
    parser.add_argument("--csv", type=Path, help="default: results.csv in --out")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--data", nargs="+", default=("motion",), choices=DATA)
    ranges = (("videos", 5), ("unseen", 480), ("batches", 8), ("seeds", 0))
    for name, default in ranges:
        parser.add_argument(f"--{name}", nargs="+", type=int, default=(default,))
    parser.add_argument("--recipe", default="small_data", choices=RECIPES)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    args = parser.parse_args(arguments)
    path = args.csv or args.out / "results.csv"
    changed = {k: ast.literal_eval(v) for k, v in (x.split("=") for x in args.set)}
    data = (args.models, args.data, *(getattr(args, name) for name, _ in ranges))
    for run in itertools.product(*data):
        row = dict(zip(KEYS, (*run, args.recipe, " ".join(args.set)), strict=True))
        if tuple(map(str, row.values())) not in finished(path):
            append(path, row | measure(args.out, row, changed))


def measure(folder, row, changed):
    """Trains and measures a model. Returns the results of the row."""
    started, seed = time.time(), row["seed"]
    train, unseen = prepare(folder, row["data"], row["videos"], row["unseen"], seed)
    keras.utils.set_random_seed(seed)
    recipe = RECIPES[row["recipe"]].resized(batch_size=row["batch"])
    every = steps(train, recipe.batch_size)
    recipe = dataclasses.replace(recipe, **changed).lengthened(every)
    model = stzoo.create(f"{row['model']}.motions", classes=len(train.classes))
    recipe.prepare(model)
    optimizer, loss = recipe.optimizer(every), recipe.loss()
    model.compile(optimizer, loss, weighted_metrics=["accuracy"])
    clip = model.stzoo.clip
    augment = recipe.augment(clip, train.classes)
    batches = clips(train, clip, recipe.batch_size, train=True, augment=augment)
    how = dict(steps_per_epoch=every, epochs=recipe.epochs, shuffle=False, verbose=0)
    history = model.fit(batches, **how).history
    how = dict(steps=steps(unseen, 40, drop_remainder=False), verbose=0)
    found = model.evaluate(clips(unseen, clip, 40), return_dict=True, **how)
    return {
        "learning_rate": f"{recipe.learning_rate:.3g}",
        "steps": recipe.steps(every),
        "training_accuracy": f"{history['accuracy'][-1]:.3f}",
        "accuracy": f"{found['accuracy']:.3f}",
        "loss": f"{found['loss']:.3f}",
        "seconds": round(time.time() - started),
    }


def prepare(folder, name, videos, count, seed):
    """Renders videos unless they exist. Returns those to train on and the unseen ones.

    The unseen videos have the same number of each class, and right labels.
    """
    data = DATA[name]
    shown, labels = data.deal(videos, np.random.default_rng(seed))
    train = render(folder / f"train_{name}_{videos}_{seed}", data, shown, (1, seed))
    unseen = np.arange(count) % len(data.classes)
    test = render(folder / f"test_{name}", data, unseen, (2, 0))
    return (
        Videos(train, tuple(map(int, labels)), data.classes),
        Videos(test, tuple(map(int, unseen)), data.classes),
    )


def render(folder, data, shown, seed):
    """Renders videos of these classes unless they exist. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(str(folder / f"{number}.mp4") for number in range(len(shown)))
    for number, path in enumerate(paths):
        if not Path(path).exists():
            frames = data.render((*seed, number), data.classes[shown[number]])
            motions.save(folder / "new.mp4", frames)
            (folder / "new.mp4").rename(path)
    return paths


def finished(path):
    """Returns the keys of the rows of a CSV file."""
    if not path.exists():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        return {tuple(row[key] for key in KEYS) for row in csv.DictReader(file)}


def append(path, row):
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
