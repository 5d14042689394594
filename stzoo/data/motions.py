"""Motions: short videos of twelve movements, rendered from a seed.

A shape moves in front of a textured background. The classes are its movements: five
pairs, each with a movement and its time reversal, and two movements that are their own
reversal. The same videos have a second set of labels, one of eight shapes, which is
independent of the first.

Only the order of the frames distinguishes a movement from its reversal:

* A pair is rendered as one movement. Its partner has the same frames in reverse.
* Everything else (camera, light, distractors) is a cosine of random phase, which has
  the same distribution in both directions of time.
* H.264 encodes each frame independently (intra only) with one quantiser for all frames,
  so that compression artefacts do not distinguish a frame from its neighbours.

So a network that is invariant to the order of frames cannot exceed 7/12: two classes,
and half of the other ten.
"""

import csv
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from stzoo.data import scenes
from stzoo.data.scenes import SHAPES
from stzoo.data.writer import write_video

# A movement and its reversal. The last two are their own reversals.
PAIRS = (
    ("left to right", "right to left"),
    ("rising", "falling"),
    ("approaching", "receding"),
    ("turning clockwise", "turning counter-clockwise"),
    ("coming out from behind", "going behind"),
    ("shaking", "staying still"),
)
CLASSES = tuple(itertools.chain.from_iterable(PAIRS))
REVERSED = {
    **{forward: backward for forward, backward in PAIRS[:-1]},
    **{backward: forward for forward, backward in PAIRS[:-1]},
    **{motion: motion for motion in PAIRS[-1]},
}
FPS = 12
QUANTISERS = (18, 34)  # of H.264, where 0 is lossless and 51 the worst


def render(seed, motion=None, shape=None):
    """Renders one video.

    The same seed gives the same scene for every movement. A movement and its reversal
    have the same frames in opposite order. Another version of NumPy or another
    processor can round a few pixels differently.

    Args:
        seed: int of at least 0, or a sequence of such ints.
        motion: string, one of `CLASSES`. By default, it is drawn from the seed.
        shape: string, one of `SHAPES`. By default, it is drawn from the seed.

    Returns:
        A tuple `(frames, motion, shape)`. Frames are uint8 RGB of shape
        `(21, 80, 80, 3)`, at 12 frames per second.

    Raises:
        ValueError: there is no such motion or shape.
    """
    scene, motion, shape, backwards = _choose(seed, motion, shape)
    frames = scenes.render(scene, motion, shape)
    if backwards:
        return frames[::-1].copy(), REVERSED[motion], shape
    return frames, motion, shape


def mask(seed, motion=None, shape=None):
    """Returns the mask of the shape in the frames that `render` returns.

    Args:
        seed, motion, shape: see `render`.

    Returns:
        Bool array `(21, 80, 80)`: the pixels that show more of the shape than of
        anything else.
    """
    scene, motion, shape, backwards = _choose(seed, motion, shape)
    shown = scenes.mask(scene, motion, shape)
    return shown[::-1].copy() if backwards else shown


def _choose(seed, motion, shape):
    """Draws a scene from a seed.

    Returns:
        A tuple of the generator of the scene, the motion to render, the shape, and
        whether to reverse the frames.
    """
    labels, scene = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(2))
    choices = labels.choice(CLASSES), labels.choice(SHAPES)
    motion = str(choices[0] if motion is None else motion)
    shape = str(choices[1] if shape is None else shape)
    for name, value, known in (("motion", motion, CLASSES), ("shape", shape, SHAPES)):
        if value not in known:
            raise ValueError(
                f"There is no {name} {value!r}. Choose one of: {', '.join(known)}."
            )
    backwards = motion in [backward for _, backward in PAIRS[:-1]]
    return scene, REVERSED[motion] if backwards else motion, shape, backwards


def save(path, frames, quantiser=23, fps=FPS):
    """Writes frames as an H.264 video at the rate of the motions.

    Args:
        path: path of the .mp4 file.
        frames: uint8 array of shape `(frames, height, width, 3)`, RGB, with even height
            and width.
        quantiser: int from 0 (lossless) to 51 (worst).
        fps: float, frames per second.
    """
    write_video(path, frames, fps, quantiser)


def write(folder, count, seed, threads=2):
    """Writes videos, their labels, and the lists of classes.

    Videos come in pairs that share a scene: a movement and its reversal (or shaking and
    staying still). Each movement occurs once in 12 videos, and with each shape once in
    96. Use different seeds for training and test data.

    Args:
        folder: path of the folder. It is created if it does not exist. It gets
            `00000.mp4` and so on, `labels.csv` (`path,motion,shape`, with paths
            relative to the folder), `motions.txt` and `shapes.txt` (one class per line,
            in the order of `CLASSES` and `SHAPES`).
        count: int, number of videos.
        seed: int of at least 0.
        threads: int, number of threads. It does not change the result.

    Returns:
        The path of `labels.csv`, which is written last.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1. Received: count={count}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    labels = folder / "labels.csv"
    labels.unlink(missing_ok=True)

    def write_scene(number, scene):
        pair, shape = scene
        quantiser = np.random.default_rng([seed, number, 1]).integers(*QUANTISERS)
        rows = []
        for index, motion in enumerate(pair, start=2 * number):
            if index < count:
                path = folder / f"{index:05d}.mp4"
                frames, motion, shape = render([seed, number], motion, shape)
                save(path, frames, quantiser)
                rows.append((path.name, motion, shape))
        return rows

    dealt = list(itertools.islice(_deal(seed), (count + 1) // 2))
    with ThreadPoolExecutor(threads) as pool:
        rows = list(pool.map(write_scene, itertools.count(), dealt))
    (folder / "motions.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    (folder / "shapes.txt").write_text("\n".join(SHAPES) + "\n", encoding="utf-8")
    with labels.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "motion", "shape"))
        writer.writerows(itertools.chain.from_iterable(rows))
    return labels


def _deal(seed):
    """Yields balanced pairs of motions with a shape.

    Six scenes have all pairs, and 48 scenes have all combinations. Shapes are drawn as
    in a Latin square, so that six scenes have six shapes.
    """
    rng = np.random.default_rng([seed, 0])
    while True:
        shapes = rng.permutation(SHAPES)
        for turn in rng.permutation(len(SHAPES)):
            for pair in rng.permutation(len(PAIRS)):
                yield PAIRS[pair], str(shapes[(turn + pair) % len(SHAPES)])
