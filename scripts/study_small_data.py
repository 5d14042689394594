"""python scripts/study_small_data.py --out runs/small_data

Measures recipes for few videos: renders small data sets (motions or shapes; 5, 10 or 30
videos a class), fine-tunes the shipped tiny weights with a new head on them, and
measures the last epoch on unseen videos. Appends a row to --csv after each run. Runs
that have a row are not repeated, so an interrupted study resumes. --set FIELD=VALUE
changes fields of the recipe:

    python scripts/study_small_data.py --out runs/small_data --models p3d_tiny \\
        --videos 5 --batches 4 --set learning_rate=0.003 --set head_rate=10
"""

import argparse
import ast
import csv
import dataclasses
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
    parser.add_argument("--labels", nargs="+", default=("shape",), choices=CLASSES)
    parser.add_argument("--videos", nargs="+", type=int, default=(10,), help="a class")
    parser.add_argument("--batches", nargs="+", type=int, default=(8,))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0,))
    parser.add_argument("--recipe", default="small_data", choices=RECIPES)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    args = parser.parse_args(arguments)
    path = args.csv or args.out / "results.csv"
    changed = {k: ast.literal_eval(v) for k, v in (x.split("=") for x in args.set)}
    for seed in args.seeds:
        for count in args.videos:
            for labels in args.labels:
                for model in args.models:
                    for batch in args.batches:
                        run = (model, labels, count, batch, seed, args.recipe)
                        row = dict(zip(KEYS, (*run, " ".join(args.set)), strict=True))
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
    model.compile(
        recipe.optimizer(steps(train, recipe.batch_size)),
        recipe.loss(),
        weighted_metrics=["accuracy"],
    )
    clip = model.stzoo.clip
    augment = recipe.augment(clip, classes)
    batches = clips(train, clip, recipe.batch_size, train=True, augment=augment)
    every = steps(train, recipe.batch_size)
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
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(row, flush=True)


if __name__ == "__main__":
    main()
