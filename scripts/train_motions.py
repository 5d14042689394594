"""python scripts/train_motions.py cost_tiny --out weights/hub/cost_tiny.motions

Trains a tiny builder of the zoo on rendered motions with `model.fit`, measures it on
unseen videos, decoded from their files, and writes the folder of a Hub repository.
Two CPU cores and 8 GB of memory do; the data is rendered once and used again.
"""

import argparse
import csv
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np

import stzoo
from stzoo.data import motions
from stzoo.data.transforms import clip_views, training_clip
from stzoo.data.video import Video

TRAIN_SEED, TEST_SEED = 1, 2  # of the renderer


class Clips(keras.utils.PyDataset):
    """Random clips of videos that are held in memory, in another order each epoch."""

    def __init__(self, videos, labels, clip, batch, seed, **kwargs):
        super().__init__(**kwargs)
        self.videos, self.labels, self.clip = videos, labels, clip
        self.batch, self.seed, self.epoch = batch, seed, 0
        self.on_epoch_end()

    def __len__(self):
        return len(self.videos) // self.batch

    def __getitem__(self, index):
        rows = self.order[index * self.batch : (index + 1) * self.batch]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        sides = (self.clip.short_side, self.clip.short_side)
        clips = [
            training_clip(self.videos[row], self.clip, rng, False, sides)
            for row in rows
        ]
        return np.stack(clips), self.labels[rows]

    def on_epoch_end(self):
        self.epoch += 1
        rng = np.random.default_rng((self.seed, self.epoch))
        self.order = rng.permutation(len(self.videos))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("builder", choices=stzoo.list_models("*_tiny"))
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--data", default=Path("runs/motions"), type=Path)
    parser.add_argument("--videos", default=6000, type=int)
    parser.add_argument("--epochs", default=12, type=int)
    parser.add_argument("--batch", default=32, type=int)
    parser.add_argument("--rate", default=2e-3, type=float)
    parser.add_argument("--seed", default=0, type=int)
    args = parser.parse_args()
    started = time.time()

    keras.utils.set_random_seed(args.seed)
    model = stzoo.create(args.builder)
    clip = model.stzoo.clip
    train = prepare(args.data / "train", args.videos, TRAIN_SEED)
    test = prepare(args.data / "test", 1200, TEST_SEED)
    videos = decode(train[0], lambda v: v.read(np.arange(len(v)), clip.short_side))
    clips = Clips(videos, train[1], clip, args.batch, args.seed)
    steps = len(clips) * args.epochs
    rate = keras.optimizers.schedules.CosineDecay(
        1e-2 * args.rate, steps, warmup_target=args.rate, warmup_steps=steps // 20
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(clips, epochs=args.epochs, verbose=2)

    known = {
        "labels": motions.CLASSES,
        "dtype": "float16",
        "tag": "motions",
        "licence": "Apache-2.0",
        "source": f"python scripts/train_motions.py {args.builder}",
    }
    stzoo.save(model, args.out, **known)
    model = stzoo.load(args.out)  # what was written is what is measured
    unseen = np.concatenate(decode(test[0], lambda v: clip_views(v, clip)))
    answers = model.predict(unseen, verbose=0).argmax(-1)
    top1 = round(100 * float(np.mean(answers == test[1])), 2)
    measured = {"top1": top1, "videos": len(answers), "views": "1x1"}
    stzoo.save(model, args.out, measured=measured, **known)

    confusion = np.zeros((len(motions.CLASSES),) * 2, int)
    np.add.at(confusion, (test[1], answers), 1)
    minutes = (time.time() - started) / 60
    print(confusion, f"top-1 {top1} % in {minutes:.0f} minutes", sep="\n")


def prepare(folder, count, seed):
    """Renders the videos unless they are there; returns paths and labels."""
    if not (folder / "labels.csv").exists():
        motions.write(folder, count, seed)
    with (folder / "labels.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))[:count]
    labels = [motions.CLASSES.index(row["motion"]) for row in rows]
    return [folder / row["path"] for row in rows], np.array(labels)


def decode(paths, read):
    """Reads videos, two at a time."""

    def one(path):
        with Video(path) as video:
            return read(video)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, paths))


if __name__ == "__main__":
    main()
