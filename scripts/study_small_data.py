"""python scripts/study_small_data.py --out runs/small_data

Measures recipes for few videos: renders small data sets, fine-tunes the shipped tiny
weights with a new head on them, and measures the last epoch on unseen videos. Appends a
row to --csv after each run. Runs that have a row are not repeated. --videos is a number
for each class. --set FIELD=VALUE changes a field of the recipe:

    python scripts/study_small_data.py --out runs/small_data --models p3d_tiny \\
        --videos 5 10 --batches 4 32 --set learning_rate=0.001 --set head_rate=1
"""

import argparse
import ast
import csv
import dataclasses
import itertools
import time
from pathlib import Path

import keras
import numpy as np

import stzoo
from stzoo.data import motions
from stzoo.data.datasets import Videos
from stzoo.data.pipeline import clips, steps
from stzoo.training.recipes import RECIPES

CLASSES = {"motion": motions.CLASSES, "shape": motions.SHAPES}
MODELS = ("cost_tiny", "p3d_tiny", "cstm_tiny")
UNSEEN = 120  # videos to measure on, which no training has
KEYS = ("model", "labels", "videos", "batch", "seed", "recipe", "changed")


def main(arguments=None):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="folder of the videos")
    parser.add_argument("--csv", type=Path, help="default: results.csv in --out")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--labels", nargs="+", default=("motion",), choices=CLASSES)
    for name, default in (("videos", 5), ("batches", 8), ("seeds", 0)):
        parser.add_argument(f"--{name}", nargs="+", type=int, default=(default,))
    parser.add_argument("--recipe", default="small_data", choices=RECIPES)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    args = parser.parse_args(arguments)
    path = args.csv or args.out / "results.csv"
    changed = {k: ast.literal_eval(v) for k, v in (x.split("=") for x in args.set)}
    data = (args.models, args.labels, args.videos, args.batches, args.seeds)
    for run in itertools.product(*data):
        row = dict(zip(KEYS, (*run, args.recipe, " ".join(args.set)), strict=True))
        if tuple(map(str, row.values())) not in finished(path):
            append(path, row | measure(args.out, row, changed))


def measure(folder, row, changed):
    """Trains and measures a model. Returns the results of the row."""
    started, seed = time.time(), row["seed"]
    classes = CLASSES[row["labels"]]
    count = row["videos"] * len(classes)
    train = prepare(folder / f"train_{row['labels']}_{count}_{seed}", count, row, 1)
    unseen = prepare(folder / f"test_{row['labels']}", UNSEEN, row, 2)
    keras.utils.set_random_seed(seed)
    recipe = RECIPES[row["recipe"]].resized(batch_size=row["batch"])
    recipe = dataclasses.replace(recipe, **changed)
    model = stzoo.create(f"{row['model']}.motions", classes=len(classes))
    recipe.prepare(model)
    every = steps(train, recipe.batch_size)
    optimizer, loss = recipe.optimizer(every), recipe.loss()
    model.compile(optimizer, loss, weighted_metrics=["accuracy"])
    clip = model.stzoo.clip
    augment = recipe.augment(clip, classes)
    batches = clips(train, clip, recipe.batch_size, train=True, augment=augment)
    how = dict(steps_per_epoch=every, epochs=recipe.epochs, shuffle=False, verbose=0)
    history = model.fit(batches, **how).history
    found = model.evaluate(clips(unseen, clip, 40), verbose=0, return_dict=True)
    return {
        "learning_rate": f"{recipe.learning_rate:.3g}",
        "steps": recipe.steps(every),
        "training_accuracy": f"{history['accuracy'][-1]:.3f}",
        "accuracy": f"{found['accuracy']:.3f}",
        "loss": f"{found['loss']:.3f}",
        "seconds": round(time.time() - started),
    }


def prepare(folder, count, row, part):
    """Renders videos unless they exist, with the same number of each class."""
    classes = CLASSES[row["labels"]]
    labels = np.arange(count) % len(classes)
    paths = [str(folder / f"{number}.mp4") for number in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        if not Path(path).exists():
            seed = (part, row["seed"] * (part == 1), number)
            what = {row["labels"]: classes[labels[number]]}
            frames, *_ = motions.render(seed, **what)
            motions.save(folder / "new.mp4", frames)
            (folder / "new.mp4").rename(path)
    return Videos(tuple(paths), tuple(map(int, labels)), classes)


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
