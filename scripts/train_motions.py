"""python scripts/train_motions.py cost_tiny --out weights/hub/cost_tiny.motions

Trains a tiny builder of the zoo on rendered motions with `model.fit`, measures it on
unseen videos, decoded from their files, and writes the folder of a Hub repository.
Options of the builder follow as `--option blocks=A`; `--epochs` and `--seed` are for
comparisons. Two CPU cores and 8 GB of memory do. The videos are rendered once and used
again.
"""

import argparse
import csv
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
from convert_weights import parse_options

import stzoo
from stzoo.data import motions
from stzoo.data.transforms import Augment, clip_views, mirror_pairs, training_clip
from stzoo.data.video import Video

TRAIN, TEST = ("train", 6000, 1), ("test", 1200, 2)  # folder, videos, seed
EPOCHS, BATCH, RATE = 12, 32, 2e-3  # of the weights that ship along


class Clips(keras.utils.PyDataset):
    """A random clip of each video, in another order each epoch."""

    def __init__(self, videos, labels, clip, flip, **kwargs):
        super().__init__(**kwargs)
        self.videos, self.labels, self.clip = videos, labels, clip
        short_sides = (clip.short_side,) * 2  # the videos are of this size
        pairs = mirror_pairs(motions.CLASSES)
        self.augment = Augment(short_sides, flip=flip, pairs=pairs)
        self.epoch = -1
        self.on_epoch_end()

    def __len__(self):
        return len(self.videos) // BATCH

    def __getitem__(self, index):
        rng = np.random.default_rng((self.epoch, index))
        rows = self.order[index * BATCH : (index + 1) * BATCH]
        clips, labels = zip(
            *(
                training_clip(
                    self.videos[row],
                    self.clip,
                    rng,
                    self.augment,
                    int(self.labels[row]),
                )
                for row in rows
            ),
            strict=True,
        )
        return np.stack(clips), np.array(labels)

    def on_epoch_end(self):
        self.epoch += 1
        self.order = np.random.default_rng(self.epoch).permutation(len(self.videos))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("builder", choices=stzoo.list_models("*_tiny"))
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--data", default=Path("runs/motions"), type=Path)
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--start", help="folder of weights to go on from")
    parser.add_argument("--flip", action="store_true", help="mirror, with the labels")
    parser.add_argument("--epochs", default=EPOCHS, type=int)
    parser.add_argument("--seed", default=0, type=int, help="of the initial weights")
    args = parser.parse_args()
    started = time.time()
    keras.utils.set_random_seed(args.seed)
    options = parse_options(args.builder, args.option)
    model = stzoo.create(args.builder, pretrained=args.start, **options)
    clip = model.stzoo.clip

    paths, labels = prepare(args.data, *TRAIN)
    videos = decode(paths, lambda v: v.read(np.arange(len(v)), clip.short_side))
    clips = Clips(videos, labels, clip, args.flip)
    steps = len(clips) * args.epochs
    rate = keras.optimizers.schedules.CosineDecay(
        0.01 * RATE, steps, warmup_target=RATE, warmup_steps=steps // 20
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(clips, epochs=args.epochs, verbose=2)

    known = dict(labels=motions.CLASSES, dtype="float16", tag="motions")
    known.update(licence="Apache-2.0", source="scripts/train_motions.py")
    stzoo.save(model, args.out, **known)
    model = stzoo.load(args.out)  # what was written is what is measured
    paths, labels = prepare(args.data, *TEST)
    unseen = np.concatenate(decode(paths, lambda v: clip_views(v, clip)))
    answers = model.predict(unseen, verbose=0).argmax(-1)
    top1 = round(100 * float(np.mean(answers == labels)), 2)
    measured = {"top1": top1, "videos": len(answers), "views": "1x1"}
    stzoo.save(model, args.out, measured=measured, **known)
    wrong = [motions.CLASSES[label] for label in labels[answers != labels]]
    print(f"wrong by class: {dict(Counter(wrong))}")
    print(f"top-1 {top1} % in {(time.time() - started) / 60:.0f} minutes")


def prepare(data, name, count, seed):
    """Renders videos unless they are there; returns their paths and labels."""
    folder = data / name
    if not (folder / "labels.csv").exists():  # is written last
        motions.write(folder, count, seed)
    with (folder / "labels.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
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
