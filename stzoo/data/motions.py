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
    reversal are the same frames in opposite order.

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
    frames = _render(scene, REVERSED[motion] if backwards else motion, shape)
    return (frames[::-1] if backwards else frames), motion, shape


def save(path, frames, quantiser=23):
    """Writes frames as an H.264 video that has no arrow of time of its own.

    Args:
        path: path of the .mp4 file.
        frames: uint8 array of shape `(frames, height, width, 3)`, RGB, of even height
            and width.
        quantiser: int from 0 (lossless) to 51, how coarsely each frame is coded.
    """
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 1  # each frame by itself: prediction would have a direction
        stream.thread_count = 1
        stream.options = {"preset": "ultrafast", "qp": str(quantiser)}
        for frame in frames:
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
            container.mux(stream.encode(image))
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


# How things move. Positions are in pixels from the middle of the frame, x to the right
# and y down, so that a growing angle turns clockwise.


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
    """From -0.5 to 0.5 in the time of the video, never at rest, not quite evenly."""
    time = np.linspace(0, 1, FRAMES)
    early_or_late = rng.uniform(-0.35, 0.35) * time * (1 - time)
    inside_or_outside = (
        rng.uniform(-0.35, 0.35) * np.sin(2 * np.pi * time) / (2 * np.pi)
    )
    return time + early_or_late + inside_or_outside - 0.5


def _trajectory(rng, motion, shape):
    """What the shape does: `x`, `y`, `radius`, `angle` over time, and the box, if any.

    The box is `(x, y, half length, half width, angle)`; the shape is behind it.
    """
    x, y = rng.uniform(-6, 6, 2)
    radius = rng.uniform(12, 17)
    angle = rng.uniform(0, 2 * np.pi)
    progress = _progress(rng)
    direction = rng.uniform(0, 2 * np.pi)
    slant = rng.uniform(-0.2, 0.2)
    amount = rng.uniform()
    box = None
    if motion in ("left to right", "rising"):
        way = (28 + 16 * amount) * progress
        heading = slant - (np.pi / 2 if motion == "rising" else 0)
        x, y = x / 2 + way * np.cos(heading), y / 2 + way * np.sin(heading)
    elif motion == "approaching":
        radius = (12.5 + radius / 17) * (1.9 + 0.7 * amount) ** progress
    elif motion == "turning clockwise":
        angle = angle + np.radians(140 + 130 * amount) * progress
    elif motion == "coming out from behind":
        radius *= 0.78
        x, y = x / 2, y / 2
        along = np.array([np.cos(direction), np.sin(direction)])
        box_x, box_y = np.array([x, y]) - (radius + 1) * along
        half_width = (1.15 + 0.35 * amount) * radius
        box = box_x, box_y, radius + 1, half_width, direction
        points_x, points_y = _points(shape)
        reach = points_x * np.cos(direction - angle) + points_y * np.sin(
            direction - angle
        )
        hidden, visible = -np.quantile(reach, 0.9), -reach.min() + 3 / radius
        way = radius * (hidden + (visible - hidden) * (progress + 0.5))
        x, y = x + way * along[0], y + way * along[1]
    elif motion == "shaking":
        period = 5 + 3 * amount  # frames; more than four, as every second may be seen
        phase = rng.uniform(0, 2 * np.pi)
        way = rng.uniform(4.5, 7) * np.cos(
            2 * np.pi * np.arange(FRAMES) / period + phase
        )
        x, y = x + way * np.cos(direction), y + way * np.sin(direction)
    path = [np.broadcast_to(value, FRAMES) for value in (x, y, radius, angle)]
    return *path, box


# How things look. Coordinates have their origin in the middle of the thing, and a
# distance is negative inside of it.


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
    """Positions that are spread evenly over a shape: two rows, x and y."""
    row, column = np.nonzero(_table(shape)[::8, ::8] < 0)
    return np.stack([column, row]) * 8 / _CELLS - _REACH


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


def _blend(frames, x, y, reach, layer):
    """Lays a thing over frames, in place.

    Args:
        frames: float32 array of shape `(frames, height, width, 3)`.
        x: array, position of the thing over time.
        y: the same, downwards.
        reach: float, radius in pixels that holds all of the thing.
        layer: function of two float32 arrays, coordinates around the thing of shapes
            `(frames, 1, width)` and `(frames, height, 1)`, that returns distances to
            it in pixels, and colours.
    """
    pixels = np.arange(SIZE) - (SIZE - 1) / 2

    def near(position):
        ends = pixels[[0, -1]].clip(position.min() - reach, position.max() + reach)
        return slice(*np.searchsorted(pixels, ends + (0, 1e-6)))

    columns, rows = near(x), near(y)
    right = (pixels[columns] - x[:, None]).astype("float32")[:, None, :]
    down = (pixels[rows] - y[:, None]).astype("float32")[:, :, None]
    distance, color = layer(right, down)
    alpha = np.clip(np.float32(0.5) - distance, 0, 1)[..., None]
    part = frames[:, rows, columns]
    part += alpha * (color - part)


def _render(rng, motion, shape):
    """Frames of a movement that is not the reversal of another."""
    path_rng, rng = rng.spawn(2)
    x, y, radius, angle, box = _trajectory(path_rng, motion, shape)
    camera = np.stack([_wander(rng, 1.2, (8, 40)) for _ in "xy"])
    x, y = (x, y) + camera
    background, foreground, cover, *spots = _colors(rng).astype("float32")

    frames = _background(rng, background, camera)
    for spot in spots[: rng.integers(2, 5)]:
        size = rng.uniform(2.5, 4.2)
        spot_x, spot_y = (
            offset + rng.uniform(-38, 38) + _wander(rng, rng.uniform(3, 14), (10, 45))
            for offset in camera
        )
        _blend(
            frames,
            spot_x,
            spot_y,
            size + 1,
            lambda right, down, size=size, spot=spot: (_disc(right, down, size), spot),
        )

    def thing(right, down):
        scale = radius.astype("float32")[:, None, None]
        cos = np.cos(angle).astype("float32")[:, None, None] / scale
        sin = np.sin(angle).astype("float32")[:, None, None] / scale
        u, v = cos * right + sin * down, cos * down - sin * right
        table = _table(shape)
        column, row = (
            ((axis + _REACH) * _CELLS).astype("int32").clip(0, len(table) - 1)
            for axis in (u, v)
        )
        return table[row, column] * scale, _texture(rng, foreground, u, v)

    _blend(frames, x, y, 1 + radius.max(), thing)

    def wall(right, down):
        *_, half_length, half_width, turn = box
        u = np.float32(np.cos(turn)) * right + np.float32(np.sin(turn)) * down
        v = np.float32(np.cos(turn)) * down - np.float32(np.sin(turn)) * right
        distance = _box(u, v, -half_length, half_length, -half_width, half_width)
        return distance, _texture(rng, cover, u / 12, v / 12)

    if box:
        _blend(frames, *(box[:2] + camera.T).T, 1 + np.hypot(*box[2:4]), wall)

    slope = np.linspace(-0.5, 0.5, SIZE)
    across, down = rng.uniform(-0.25, 0.25, 2)
    shade = 1 + across * slope + down * slope[:, None]
    light = rng.uniform(0.75, 1.1) * (1 + _wander(rng, 0.1, (10, 60)))
    frames *= (light[:, None, None] * shade).astype("float32")[..., None]
    return np.rint(np.clip(frames, 0, 255, out=frames), out=frames).astype("uint8")


def _background(rng, color, camera):
    """A texture that the camera, which is not quite still, looks at."""
    margin = 2
    pixels = np.arange(-margin, SIZE + margin, dtype="float32") / 16
    texture = _texture(rng, color, pixels, pixels[:, None])
    frames = np.empty((FRAMES, SIZE, SIZE, 3), "float32")
    for frame, shift in zip(frames, camera.T, strict=True):
        (x, y), (part_x, part_y) = np.divmod(margin - shift, 1)
        wide = slice(int(x), int(x) + SIZE), slice(int(x) + 1, int(x) + 1 + SIZE)
        high = slice(int(y), int(y) + SIZE + 1)
        rows = texture[high, wide[0]] * np.float32(1 - part_x)
        rows += texture[high, wide[1]] * np.float32(part_x)
        np.multiply(rows[:-1], np.float32(1 - part_y), out=frame)
        frame += rows[1:] * np.float32(part_y)
    return frames
