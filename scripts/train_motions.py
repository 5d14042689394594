"""python scripts/train_motions.py cost_tiny --out weights/hub/cost_tiny.motions

Trains a tiny builder of the zoo on rendered motions with `model.fit`, measures it on
unseen videos, decoded from their files, and writes the folder of a Hub repository.
Options of the builder are passed as `--option blocks=A`. Two CPU cores and 8 GB of
memory are enough. The videos are rendered once and reused. With `--labels shape`, the
network learns which shape moves in the same videos, instead of its motion.

The direction of rotation is hard to learn for networks that factorise space and time,
since only the order of small local changes shows it. They learn it with small batches
that contain a video and its reversal, which differ in nothing else:

    python scripts/train_motions.py NAME --only "turning*" --pairs --batch 8 --out FIRST
    python scripts/train_motions.py NAME --start FIRST --pairs --out FOLDER

TRN and the online TSM learn it only after a training on all motions. The first command
then starts from the folder of that training.

A transformer can also learn from a trained network what is where: `--teacher` adds a
loss, the mean squared difference between the maps of a layer of that network and those
that a linear layer makes from the tokens.

    python scripts/train_motions.py videomae_tiny --pairs --flip --epochs 32 \\
        --teacher weights/hub/cost_tiny.motions --out FIRST
    python scripts/train_motions.py videomae_tiny --pairs --flip --epochs 28 \\
        --start FIRST --out FOLDER

Three further trainings with more videos follow, see `studies/motions`.

`--start` also takes a network of another architecture. Weights that have the same name
and shape in both are then copied, such as the blocks of VideoMAE for V-JEPA 2.
"""

import argparse
import copy
import csv
import dataclasses
import itertools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

import keras
import numpy as np

import stzoo
from stzoo.conversion import parse_options
from stzoo.data import motions
from stzoo.data.flow import FlowVideo
from stzoo.data.mirroring import mirror_pairs
from stzoo.data.transforms import Augment
from stzoo.data.video import Video
from stzoo.data.views import clip_views, length, training_clip

VIDEOS = 6000  # for training, and a fifth of this for testing
TRAIN, TEST = ("train", 1), ("test", 2)  # folder, seed
EPOCHS, BATCH, RATE = 12, 32, 2e-3  # those of `cost_tiny.motions`
CLASSES = {"motion": motions.CLASSES, "shape": motions.SHAPES}


class Clips(keras.utils.PyDataset):
    """A random clip of each video, in a new order each epoch.

    With `pairs`, both videos of a scene have the same crop and are adjacent.
    """

    def __init__(self, videos, labels, clip, batch, pairs=False, flip=False, **kwargs):
        super().__init__(**kwargs)
        self.videos, self.labels, self.clip = videos, labels, clip
        self.batch, self.together = batch, 2 if pairs else 1
        short_sides = (clip.short_side,) * 2  # the size of the videos
        mirrored = mirror_pairs(motions.CLASSES)
        self.augment = Augment(short_sides, flip=flip, pairs=mirrored)
        self.epoch = -1
        self.on_epoch_end()

    def __len__(self):
        return len(self.videos) // self.batch

    def __getitem__(self, index):
        rng = np.random.default_rng((self.epoch, index))
        rows = self.order[index * self.batch : (index + 1) * self.batch]
        clips, labels = [], []
        for scene in rows.reshape(-1, self.together):
            start = rng
            for row in scene:
                rng = copy.deepcopy(start)
                video, label = self.videos[row], int(self.labels[row])
                cut = training_clip(video, self.clip, rng, self.augment, label)
                clips.append(cut[0])
                labels.append(cut[1])
        return np.stack(clips), np.array(labels)

    def on_epoch_end(self):
        self.epoch += 1
        scenes = np.arange(len(self.videos)).reshape(-1, self.together)
        self.order = np.random.default_rng(self.epoch).permutation(scenes).ravel()


class Lessons(keras.utils.PyDataset):
    """Clips whose targets are their labels and the maps of a teacher.

    Each channel of the maps is standardised by the first batch.
    """

    def __init__(self, clips, teacher):
        super().__init__()
        self.clips, self.teacher = clips, teacher
        maps = self._maps(clips[0][0])
        self.mean, self.deviation = maps.mean((0, 1, 2, 3)), maps.std((0, 1, 2, 3))

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        clips, labels = self.clips[index]
        maps = (self._maps(clips) - self.mean) / (self.deviation + 0.01)
        return clips, (labels, maps)

    def on_epoch_end(self):
        self.clips.on_epoch_end()

    def _maps(self, clips):
        step = clips.shape[1] // self.teacher.input_shape[1]
        return self.teacher.predict_on_batch(clips[:, ::step])


def main(arguments=None):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("builder", choices=stzoo.list_models("*_tiny"))
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--data", default=Path("runs/motions"), type=Path)
    parser.add_argument("--labels", default="motion", choices=CLASSES)
    parser.add_argument(
        "--videos", default=VIDEOS, type=int, help="and 1/5 for testing"
    )
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--clip", help="size of a clip, such as 20x64x64")
    parser.add_argument("--start", help="folder of initial weights")
    parser.add_argument("--only", default="*", help="pattern of classes to train on")
    parser.add_argument(
        "--pairs", action="store_true", help="batch a video with its reversal"
    )
    parser.add_argument("--flip", action="store_true", help="mirror clips and labels")
    parser.add_argument("--teacher", help="folder of a network whose maps are learned")
    parser.add_argument(
        "--layer", default="layer3_1_relu", help="layer of the teacher with these maps"
    )
    parser.add_argument("--epochs", default=EPOCHS, type=int)
    parser.add_argument("--batch", default=BATCH, type=int)
    parser.add_argument("--rate", default=RATE, type=float)
    parser.add_argument(
        "--seed", default=0, type=int, help="seed of the initial weights"
    )
    args = parser.parse_args(arguments)
    started = time.time()
    classes = CLASSES[args.labels]
    model = build(args, classes)
    train(model, args, classes)
    minutes = round((time.time() - started) / 60, 1)
    names = ("videos", "epochs", "batch", "rate", "seed")
    training = {name: getattr(args, name) for name in names} | {"minutes": minutes}

    clip = dataclasses.replace(model.stzoo.clip, fps=motions.FPS)
    model.stzoo = dataclasses.replace(model.stzoo, clip=clip)
    known = dict(labels=classes, dtype="float16", tag=f"{args.labels}s")
    known.update(dataset="motions" if args.labels == "motion" else "")
    known.update(licence="Apache-2.0", source="scripts/train_motions.py")
    known.update(training=training)
    stzoo.save(model, args.out, **known)
    model = stzoo.load(args.out)  # measures the written weights
    answers, labels = measure(model, args)
    top1 = round(100 * float(np.mean(answers == labels)), 2)
    measured = {"top1": top1, "videos": len(answers), "views": "1x1"}
    stzoo.save(model, args.out, measured=measured, **known)
    wrong = [classes[label] for label in labels[answers != labels]]
    print(f"wrong by class: {dict(Counter(wrong))}")
    print(f"top-1 {top1} % after {minutes} minutes of training")


def build(args, classes):
    """Builds the model that the command asks for."""
    keras.utils.set_random_seed(args.seed)
    options = parse_options(args.builder, args.option)
    size = args.clip and (*map(int, args.clip.split("x")), 3)
    options.update(classes=len(classes), input_shape=size)
    start = stzoo.load(args.start) if args.start else None
    if start is None or start.stzoo.builder == args.builder:
        return stzoo.create(args.builder, pretrained=args.start, **options)
    model = stzoo.create(args.builder, **options)
    print(f"{copy_weights(start, model)} weights are those of {args.start}.")
    return model


def copy_weights(source, target):
    """Copies weights of the same name and shape. Returns their number."""
    weights = {(weight.path, weight.shape): weight for weight in source.weights}
    known = [w for w in target.weights if (w.path, w.shape) in weights]
    for weight in known:
        weight.assign(weights[weight.path, weight.shape])
    return len(known)


def train(model, args, classes):
    """Trains a model on the videos that the command asks for."""
    clip = model.stzoo.clip
    paths, labels = prepare(args.data, *TRAIN, args.videos, args.labels)
    chosen = [fnmatch(classes[label], args.only) for label in labels]
    paths, labels = list(itertools.compress(paths, chosen)), labels[chosen]
    videos = decode(paths, lambda video: frames(video, clip))
    clips = Clips(videos, labels, clip, args.batch, args.pairs, args.flip)
    losses, metrics = [keras.losses.SparseCategoricalCrossentropy(from_logits=True)], []
    if args.teacher:
        teacher = teacher_of(args.teacher, args.layer)
        clips, model = Lessons(clips, teacher), with_maps(model, teacher.output_shape)
        losses, metrics = [*losses, "mse"], [[]]
    steps = len(clips) * args.epochs
    rate = keras.optimizers.schedules.CosineDecay(
        0.01 * args.rate, steps, warmup_target=args.rate, warmup_steps=steps // 20
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.01),
        losses,
        metrics=[["accuracy"], *metrics],
    )
    model.fit(clips, epochs=args.epochs, verbose=2)


def teacher_of(folder, layer):
    """Returns the part of a trained network up to a layer."""
    teacher = stzoo.load(folder)
    return keras.Model(teacher.input, teacher.get_layer(layer).output)


def with_maps(model, shape):
    """Returns a model with a second output: maps of a shape, made from its tokens."""
    x = model.get_layer("maps").output
    pool = tuple(np.floor_divide(x.shape[1:4], shape[1:4]).tolist())
    x = keras.layers.AveragePooling3D(pool, data_format="channels_last")(x)
    return keras.Model(model.input, [model.output, keras.layers.Dense(shape[-1])(x)])


def measure(model, args):
    """Returns the answers of a model for unseen videos, and their labels."""
    paths, labels = prepare(args.data, *TEST, args.videos // 5, args.labels)
    clips = decode(paths, lambda video: clip_views(video, model.stzoo.clip))
    return model.predict(np.concatenate(clips), verbose=0).argmax(-1), labels


def prepare(data, name, seed, count, column="motion"):
    """Renders videos unless they exist. Returns paths and labels of the first ones."""
    folder = data / name
    rows = listed(folder)
    if len(rows) < count:
        motions.write(folder, count, seed)
        rows = listed(folder)
    labels = [CLASSES[column].index(row[column]) for row in rows[:count]]
    return [folder / row["path"] for row in rows[:count]], np.array(labels)


def listed(folder):
    """Returns the rows of `labels.csv`, which is written last."""
    if not (folder / "labels.csv").exists():
        return []
    with (folder / "labels.csv").open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def frames(video, clip):
    """Reads all frames of a video, with flow to the next frame if a clip has flow."""
    indices = np.arange(length(video, clip))
    if not clip.uses_flow:
        return video.read(indices, clip.short_side)
    return FlowVideo(video, clip.short_side, clip.flow).read(indices)


def decode(paths, read):
    """Reads videos, two at a time."""

    def one(path):
        with Video(path) as video:
            return read(video)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, paths))


if __name__ == "__main__":
    main()
