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
import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np

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
SHAPES = ("arrow", "comb", "corner", "crescent", "dome", "drop", "flag", "key")

FRAMES = 21  # odd: a clip from the middle is the same frames in both directions
SIZE = 80
FPS = 12
QUANTISERS = (18, 34)  # of H.264, where 0 is lossless and 51 the worst

_REACH = 1.2  # a shape's table goes from -1.2 to 1.2; the shape itself from -1 to 1
_CELLS = 128  # cells of the table for each unit


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
    frames = _render(scene, motion, shape)
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
    path, scene = scene.spawn(2)
    position, radius, angle, box = _trajectory(path, motion, shape)
    camera = _camera(scene)
    shown = np.zeros((FRAMES, SIZE, SIZE, 1), "float32")
    _blend(shown, position + camera, radius, angle, lambda *at: (_form(shape, *at), 1))
    if box:
        center, length, width, turn = box
        size = length * np.hypot(1, width)
        _blend(shown, center + camera, size, turn, lambda *at: (_wall(width, *at), 0))
    shown = shown[..., 0] > 0.5
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
    """Writes frames as an H.264 video that has no arrow of time of its own.

    Args:
        path: path of the .mp4 file.
        frames: uint8 array of shape `(frames, height, width, 3)`, RGB, of even height
            and width.
        quantiser: int from 0 (lossless) to 51, how coarsely each frame is coded.
        fps: float, frames per second.
    """
    import av

    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 1  # each frame by itself: prediction would have a direction
        stream.thread_count = 1
        stream.options = {"preset": "ultrafast", "qp": str(quantiser)}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


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

    scenes = list(itertools.islice(_scenes(seed), (count + 1) // 2))
    with ThreadPoolExecutor(threads) as pool:
        rows = list(pool.map(write_scene, itertools.count(), scenes))
    (folder / "motions.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    (folder / "shapes.txt").write_text("\n".join(SHAPES) + "\n", encoding="utf-8")
    with labels.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "motion", "shape"))
        writer.writerows(itertools.chain.from_iterable(rows))
    return labels


def _scenes(seed):
    """Pairs of motions with a shape, balanced: all pairs in 6, all combinations in 48.

    Shapes are dealt as in a Latin square, so that six scenes have six shapes.
    """
    rng = np.random.default_rng([seed, 0])
    while True:
        shapes = rng.permutation(SHAPES)
        for turn in rng.permutation(len(SHAPES)):
            for pair in rng.permutation(len(PAIRS)):
                yield PAIRS[pair], str(shapes[(turn + pair) % len(SHAPES)])


# How things move. Positions are complex numbers, pixels from the middle of the frame to
# the right and, imaginary, downwards; so a growing angle turns clockwise.


def _wander(rng, size, period):
    """Something that moves about at random, alike in both directions of time.

    Two cosines of random phase: reversed, they are two cosines of random phase.

    Args:
        rng: `numpy.random.Generator`.
        size: float, the farthest that it gets from 0.
        period: tuple, the shortest and the longest period in frames.
    """
    phase = rng.uniform(0, 2 * np.pi, (2, 1))
    speed = 2 * np.pi / rng.uniform(*period, (2, 1))
    return size * np.cos(speed * np.arange(FRAMES) + phase).mean(0)


def _progress(rng):
    """From 0 to 1 in the time of the video: never at rest, and not quite evenly."""
    time = np.linspace(0, 1, FRAMES)
    sooner, inside = rng.uniform(-0.35, 0.35, 2)
    return time * (1 + sooner * (1 - time)) + inside * np.sin(2 * np.pi * time) / 6.3


def _trajectory(rng, motion, shape):
    """Where the shape goes.

    Returns:
        A tuple `(position, radius, angle, box)`. The first three are arrays over time,
        radius in pixels. What the shape comes out from is a box
        `(position, half length, width / length, angle)`; `None` in other movements.
    """
    start = complex(*rng.uniform(-6, 6, 2))
    radius = rng.uniform(12, 17)
    angle = rng.uniform(0, 2 * np.pi)
    progress = _progress(rng)
    heading = np.exp(1j * rng.uniform(0, 2 * np.pi))
    slant = np.exp(1j * rng.uniform(-0.2, 0.2))
    amount, phase = rng.uniform(), rng.uniform(0, 2 * np.pi)
    position, box = start, None
    if motion in ("left to right", "rising"):
        heading = slant * (1 if motion == "left to right" else -1j)
        position = start / 2 + (28 + 16 * amount) * (progress - 0.5) * heading
    elif motion == "approaching":
        radius = (10 + radius / 4) * (1.9 + 0.7 * amount) ** (progress - 0.5)
    elif motion == "turning clockwise":
        angle = angle + np.radians(140 + 130 * amount) * progress
    elif motion == "coming out from behind":
        radius *= 0.78
        edge, length = start / 2, radius + 1
        box = edge - length * heading, length, 1.1 + 0.3 * amount, np.angle(heading)
        reach = (_points(shape) * np.exp(1j * angle) / heading).real
        first = -np.quantile(reach, 0.9)  # a tenth of the shape is seen
        last = 3 / radius - reach.min()  # and at the end a gap of three pixels
        position = edge + radius * (first + (last - first) * progress) * heading
    elif motion == "shaking":
        period = 5 + 3 * amount  # frames; more than four, as every second may be seen
        wave = np.cos(2 * np.pi * np.arange(FRAMES) / period + phase)
        position = start + (4.5 + 2.5 * amount) * wave * heading
    path = (np.broadcast_to(value, FRAMES) for value in (position, radius, angle))
    return *path, box


# How things look. A thing has coordinates of its own, x and y, in which its size is
# about 1. Distances in them are negative inside of it.


def _disc(x, y, radius):
    return np.hypot(x, y) - radius


def _box(x, y, left, right, top, bottom):
    return np.maximum(
        abs(x - (left + right) / 2) - (right - left) / 2,
        abs(y - (top + bottom) / 2) - (bottom - top) / 2,
    )


def _triangle(x, y, *corners):
    """Corners run clockwise on the screen."""
    distance = -np.inf
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        across = (y1 - y0) * (x - x0) - (x1 - x0) * (y - y0)
        distance = np.maximum(distance, across / np.hypot(x1 - x0, y1 - y0))
    return distance


def _union(*distances):
    return functools.reduce(np.minimum, distances)


# No shape looks like itself turned, or like another one mirrored.
_DISTANCES = {
    "arrow": lambda x, y: _union(
        _box(x, y, -1, 0.2, -0.22, 0.22),
        _triangle(x, y, (0.1, -0.75), (1, 0), (0.1, 0.75)),
    ),
    "comb": lambda x, y: _union(
        _box(x, y, -0.6, -0.15, -0.9, 0.9),
        *(_box(x, y, -0.3, 0.8, at - 0.18, at + 0.18) for at in (-0.72, 0, 0.72)),
    ),
    "corner": lambda x, y: _union(
        _box(x, y, -0.5, -0.05, -1.1, 0.8), _box(x, y, -0.5, 0.8, 0.35, 0.8)
    ),
    "crescent": lambda x, y: np.maximum(_disc(x, y, 1), -_disc(x - 0.6, y, 0.85)),
    "dome": lambda x, y: np.maximum(_disc(x, y, 1), y),
    "drop": lambda x, y: _union(
        _disc(x, y, 0.6), _triangle(x, y, (0, -1.5), (0.55, -0.24), (-0.55, -0.24))
    ),
    "flag": lambda x, y: _union(
        _box(x, y, -0.5, -0.2, -1, 1.2), _box(x, y, -0.3, 0.75, -1, 0.05)
    ),
    "key": lambda x, y: _union(
        np.maximum(_disc(x + 0.6, y, 0.6), -_disc(x + 0.6, y, 0.26)),
        _box(x, y, -0.1, 1.2, -0.16, 0.16),
        _box(x, y, 0.85, 1.2, 0, 0.55),
    ),
}


@functools.cache
def _table(shape):
    """Distances to a shape that lies in the unit circle around its centre of mass."""
    distance = _DISTANCES[shape]
    x, y = np.meshgrid(*[np.linspace(-1.6, 1.6, 641)] * 2)
    inside = distance(x, y) < 0
    middle_x, middle_y = x[inside].mean(), y[inside].mean()
    reach = np.hypot(x[inside] - middle_x, y[inside] - middle_y).max()
    x, y = np.meshgrid(*[np.arange(-_REACH, _REACH, 1 / _CELLS) + 0.5 / _CELLS] * 2)
    table = distance(x * reach + middle_x, y * reach + middle_y) / reach
    return table.astype("float32")


@functools.cache
def _points(shape):
    """Positions that are spread evenly over a shape."""
    row, column = np.nonzero(_table(shape)[::8, ::8] < 0)
    return (column + 1j * row) * 8 / _CELLS - (1 + 1j) * _REACH


def _texture(rng, color, x, y):
    """Three waves in random directions, soft or hard, in shades around a colour.

    Args:
        rng: `numpy.random.Generator`.
        color: array of 3 numbers from 0 to 255.
        x: array, coordinate, in which a wave is from 0.7 to 3 long.
        y: array, the other coordinate, that broadcasts with `x`.

    Returns:
        float32 array of the shape of `x + y`, and the channels.
    """
    field = np.zeros(np.broadcast_shapes(x.shape, y.shape), "float32")
    for _ in range(3):
        direction, phase = rng.uniform(0, 2 * np.pi, 2)
        weight, frequency = rng.uniform(0.2, 1), 2 * np.pi / rng.uniform(0.7, 3)
        kx, ky = frequency * np.cos(direction), frequency * np.sin(direction)
        wave = np.sin(np.float32(kx) * x + (np.float32(ky) * y + np.float32(phase)))
        field += np.float32(weight) * wave
    field *= np.float32(rng.uniform(0.8, 4))
    np.clip(field, -1, 1, out=field)
    shade = rng.uniform(-12, 12, 3) + rng.choice((-1, 1)) * rng.uniform(4, 20)
    return field[..., None] * np.float32(shade) + np.float32(color)


def _colors(rng):
    """Colours of background, shape and box, and of four distractors.

    The first three are a dark, a middle and a bright one in any order, so that each
    stands out against the others.
    """
    light = rng.permutation((55, 130, 205)) + rng.uniform(-12, 12, 3)
    light = np.concatenate([light, rng.uniform(30, 230, 4)])[:, None]
    tint = rng.uniform(-50, 50, (7, 3))
    tint -= tint @ np.array([[0.299], [0.587], [0.114]])  # leaves the lightness alone
    return np.clip(light + tint, 5, 250)


def _blend(frames, position, radius, angle, thing):
    """Lays a thing over frames, in place.

    Args:
        frames: float32 array of shape `(frames, height, width, 3)`.
        position: array, where the thing is over time.
        radius: array or float, its size in pixels: the unit of its own coordinates.
        angle: array or float, how far it is turned.
        thing: function of x and y, float32 arrays of its own coordinates, that returns
            distances to it, and colours.
    """
    pixels = np.arange(SIZE) - (SIZE - 1) / 2
    reach = 1 + np.max(radius)

    def near(center):
        first, last = center.min() - reach, center.max() + reach
        return slice(*np.searchsorted(pixels, (first, last)))

    columns, rows = near(position.real), near(position.imag)
    part = frames[:, rows, columns]
    radius = np.broadcast_to(radius, FRAMES).astype("float32")[:, None, None]
    axis = np.broadcast_to(np.exp(1j * angle), FRAMES).astype("complex64")
    axis = axis[:, None, None] / radius
    right = (pixels[columns] - position.real[:, None]).astype("float32")[:, None, :]
    down = (pixels[rows] - position.imag[:, None]).astype("float32")[:, :, None]
    x, y = axis.real * right + axis.imag * down, axis.real * down - axis.imag * right
    distance, color = thing(x, y)
    alpha = np.clip(np.float32(0.5) - distance * radius, 0, 1)[..., None]
    part += alpha * (color - part)


def _camera(rng):
    """Where the camera, which is not quite still, looks."""
    return _wander(rng, 1.2, (8, 40)) + 1j * _wander(rng, 1.2, (8, 40))


def _form(shape, x, y):
    """Distances to a shape."""
    table = _table(shape)
    column, row = (
        ((axis + _REACH) * _CELLS).astype("int32").clip(0, len(table) - 1)
        for axis in (x, y)
    )
    return table[row, column]


def _wall(width, x, y):
    """Distances to the box that a shape comes out from, which is in the unit circle."""
    inner = np.hypot(1, width)
    return _box(x * inner, y * inner, -1, 1, -width, width) / inner


def _background(rng, color, camera):
    """A texture that the camera looks at."""
    margin = 2
    pixels = np.arange(-margin, SIZE + margin, dtype="float32") / 16
    texture = _texture(rng, color, pixels, pixels[:, None])
    frames = np.empty((FRAMES, SIZE, SIZE, 3), "float32")
    for frame, shift in zip(frames, camera, strict=True):
        x, part_x = divmod(margin - shift.real, 1)
        y, part_y = divmod(margin - shift.imag, 1)
        x, rows = int(x), texture[int(y) : int(y) + SIZE + 1]
        left, right = rows[:, x : x + SIZE], rows[:, x + 1 : x + 1 + SIZE]
        rows = left + np.float32(part_x) * (right - left)
        frame[:] = rows[:-1] + np.float32(part_y) * (rows[1:] - rows[:-1])
    return frames


def _render(rng, motion, shape):
    """Frames of a movement that is not the reversal of another."""
    path_rng, rng = rng.spawn(2)
    position, radius, angle, box = _trajectory(path_rng, motion, shape)
    camera = _camera(rng)
    background, foreground, cover, *spots = _colors(rng).astype("float32")
    slope = np.linspace(-0.5, 0.5, SIZE) * rng.uniform(-0.25, 0.25, (2, 1))
    shade = rng.uniform(0.75, 1.1) * (1 + slope[0] + slope[1][:, None])
    light = 1 + _wander(rng, 0.1, (10, 60))

    frames = _background(rng, background, camera)
    for spot in spots[: rng.integers(2, 5)]:
        size, span = rng.uniform(2.5, 4.2), rng.uniform(3, 14)
        x, y = (rng.uniform(-38, 38) + _wander(rng, span, (10, 45)) for _ in "xy")
        _blend(
            frames,
            x + 1j * y + camera,
            size,
            0,
            lambda x, y, spot=spot: (_disc(x, y, 1), spot),
        )

    def form(x, y):
        return _form(shape, x, y), _texture(rng, foreground, x, y)

    _blend(frames, position + camera, radius, angle, form)
    if box:
        center, length, width, turn = box

        def wall(x, y):
            inner = np.hypot(1, width)
            return _wall(width, x, y), _texture(rng, cover, x * inner, y * inner)

        size = length * np.hypot(1, width)
        _blend(frames, center + camera, size, turn, wall)

    frames *= (light[:, None, None] * shade).astype("float32")[..., None]
    return np.rint(np.clip(frames, 0, 255, out=frames), out=frames).astype("uint8")
