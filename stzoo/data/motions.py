"""Motions: short videos of twelve movements, rendered from a seed.

A shape moves before a textured background. The classes are what it does: five pairs
of movements, each of which is the other in reversed time, and two that are their own
reversal. A second labelling of the same videos is which of eight shapes it is, and
has nothing to do with the first.

Nothing but the order of the frames tells a movement from its reversal:

* A pair is rendered as one movement, and the partner is the same frames backwards.
* All that happens besides (camera, light, distractors) are cosines of random phase,
  which are distributed alike in both directions of time.
* H.264 codes each frame by itself (intra only) with one quantiser for all of them, so
  that no frame can be told from its neighbours by what the codec left of it.

So a network that is blind to the order of frames cannot pass 7/12: two classes, and
half of the other ten.
"""

import csv
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from stzoo.data import scenes
from stzoo.data.scenes import SHAPES
from stzoo.data.writer import write_video

# One movement and its reversal; the last two are each their own reversal.
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

    The same seed shows the same scene in every movement, and a movement and its
    reversal are the same frames in opposite order. Another version of NumPy or another
    processor may round a few pixels differently.

    Args:
        seed: int from 0, or a sequence of them.
        motion: string, one of `CLASSES`. By default, the seed decides.
        shape: string, one of `SHAPES`. By default, the seed decides.

    Returns:
        A tuple `(frames, motion, shape)`. Frames are uint8 RGB of shape
        `(21, 80, 80, 3)`, for 12 frames in a second.

    Raises:
        ValueError: There is no such motion or shape.
    """
    scene, motion, shape, backwards = _choose(seed, motion, shape)
    frames = scenes.render(scene, motion, shape)
    if backwards:
        return frames[::-1].copy(), REVERSED[motion], shape
    return frames, motion, shape


def mask(seed, motion=None, shape=None):
    """Where the shape is in the frames that `render` gives for the same arguments.

    Args:
        seed, motion, shape: as for `render`.

    Returns:
        Bool array `(21, 80, 80)`: the pixels that show more of the shape than of
        anything else.
    """
    scene, motion, shape, backwards = _choose(seed, motion, shape)
    shown = scenes.mask(scene, motion, shape)
    return shown[::-1].copy() if backwards else shown


def _choose(seed, motion, shape):
    """What a seed stands for.

    Returns:
        A tuple: the generator of the scene; the motion that is rendered; the shape;
        whether the frames are then reversed.
    """
    labels, scene = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(2))
    choices = labels.choice(CLASSES), labels.choice(SHAPES)
    motion = str(choices[0] if motion is None else motion)
    shape = str(choices[1] if shape is None else shape)
    for name, value, known in (("motion", motion, CLASSES), ("shape", shape, SHAPES)):
        if value not in known:
            raise ValueError(
                f"Motions knows no {name} {value!r}. It is one of: {', '.join(known)}."
            )
    backwards = motion in [backward for _, backward in PAIRS[:-1]]
    return scene, REVERSED[motion] if backwards else motion, shape, backwards


def save(path, frames, quantiser=23, fps=FPS):
    """Writes frames as an H.264 video at the rate of the motions.

    Args:
        path: path of the .mp4 file.
        frames: uint8 array of shape `(frames, height, width, 3)`, RGB, of even height
            and width.
        quantiser: int from 0 (lossless) to 51, how coarsely each frame is coded.
        fps: float, frames per second.
    """
    write_video(path, frames, fps, quantiser)


def write(folder, count, seed, threads=2):
    """Writes videos, their labels, and the lists of classes.

    Videos come in twos that share a scene: a movement and its reversal (or shaking and
    staying still). Each movement occurs once in 12 videos, and with each shape once in
    96. Data for training and for a test need different seeds.

    Args:
        folder: path of the folder, which is made if need be. It gets `00000.mp4` and
            on, `labels.csv` (`path,motion,shape`; paths are relative to the folder),
            `motions.txt` and `shapes.txt` (a class a line, in the order of `CLASSES`
            and `SHAPES`).
        count: int, number of videos.
        seed: int from 0.
        threads: int, videos that are made at the same time. The result is the same.

    Returns:
        The path of `labels.csv`, which is written last.
    """
    if count < 1:
        raise ValueError(f"Motions writes 1 video or more. Received: count={count}.")
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
    """Pairs of motions with a shape, balanced: all pairs in 6, all combinations in 48.

    Shapes are dealt as in a Latin square, so that six scenes have six shapes.
    """
    rng = np.random.default_rng([seed, 0])
    while True:
        shapes = rng.permutation(SHAPES)
        for turn in rng.permutation(len(SHAPES)):
            for pair in rng.permutation(len(PAIRS)):
                yield PAIRS[pair], str(shapes[(turn + pair) % len(SHAPES)])
