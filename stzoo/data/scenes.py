"""Renders the motions: how things move, and how they look.

A shape moves in front of a textured background, seen by a camera that shakes a little.
Only the path of the shape has a direction in time.
"""

import functools

import numpy as np

SHAPES = ("arrow", "comb", "corner", "crescent", "dome", "drop", "flag", "key")
FRAMES = 21  # odd, so that the middle clip has the same frames in both directions
SIZE = 80

_REACH = 1.2  # the table of a shape spans -1.2 to 1.2, the shape itself -1 to 1
_CELLS = 128  # cells of the table per unit


def render(rng, motion, shape):
    """Renders a movement that is not the reversal of another.

    Args:
        rng: `numpy.random.Generator`.
        motion: string, one of the motions of `trajectory`.
        shape: string, one of `SHAPES`.

    Returns:
        uint8 array `(21, 80, 80, 3)`, RGB.
    """
    path_rng, rng = rng.spawn(2)
    position, radius, angle, box = trajectory(path_rng, motion, shape)
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


def mask(rng, motion, shape):
    """Returns the mask of the shape in the frames that `render` returns.

    Returns:
        Bool array `(21, 80, 80)`.
    """
    path_rng, rng = rng.spawn(2)
    position, radius, angle, box = trajectory(path_rng, motion, shape)
    camera = _camera(rng)
    shown = np.zeros((FRAMES, SIZE, SIZE, 1), "float32")
    _blend(shown, position + camera, radius, angle, lambda *at: (_form(shape, *at), 1))
    if box:
        center, length, width, turn = box
        size = length * np.hypot(1, width)
        _blend(shown, center + camera, size, turn, lambda *at: (_wall(width, *at), 0))
    return shown[..., 0] > 0.5


# How things move. Positions are complex numbers in pixels from the middle of the frame.
# The real part is to the right, the imaginary part down, so a growing angle is
# clockwise.


def _wander(rng, size, period):
    """Draws a random motion with the same distribution in both directions of time.

    It is a sum of two cosines of random phase. Reversed, they are still cosines of
    random phase.

    Args:
        rng: `numpy.random.Generator`.
        size: float, maximum distance from 0.
        period: tuple, the shortest and the longest period in frames.
    """
    phase = rng.uniform(0, 2 * np.pi, (2, 1))
    speed = 2 * np.pi / rng.uniform(*period, (2, 1))
    return size * np.cos(speed * np.arange(FRAMES) + phase).mean(0)


def _progress(rng):
    """Returns the progress from 0 to 1 over the video, strictly rising, not linear."""
    time = np.linspace(0, 1, FRAMES)
    sooner, inside = rng.uniform(-0.35, 0.35, 2)
    return time * (1 + sooner * (1 - time)) + inside * np.sin(2 * np.pi * time) / 6.3


def trajectory(rng, motion, shape):
    """Draws the path of the shape.

    Returns:
        A tuple `(position, radius, angle, box)`. The first three are arrays over time,
        with the radius in pixels. `box` is the box behind which the shape is hidden,
        `(position, half length, width / length, angle)`, or `None` in other movements.
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
        reach = (points(shape) * np.exp(1j * angle) / heading).real
        first = -np.quantile(reach, 0.9)  # a tenth of the shape is visible
        last = 3 / radius - reach.min()  # at the end, the gap is three pixels
        position = edge + radius * (first + (last - first) * progress) * heading
    elif motion == "shaking":
        period = (
            5 + 3 * amount
        )  # more than four frames, since clips can skip every second
        wave = np.cos(2 * np.pi * np.arange(FRAMES) / period + phase)
        position = start + (4.5 + 2.5 * amount) * wave * heading
    path = (np.broadcast_to(value, FRAMES) for value in (position, radius, angle))
    return *path, box


# How things look. Each thing has its own coordinates x and y, in which its size is
# about 1. Distances are negative inside it.


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


# No shape looks like a rotation of itself, or like a mirror image of another shape.
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
def table(shape):
    """Returns distances to a shape in the unit circle around its centre of mass."""
    distance = _DISTANCES[shape]
    x, y = np.meshgrid(*[np.linspace(-1.6, 1.6, 641)] * 2)
    inside = distance(x, y) < 0
    middle_x, middle_y = x[inside].mean(), y[inside].mean()
    reach = np.hypot(x[inside] - middle_x, y[inside] - middle_y).max()
    x, y = np.meshgrid(*[np.arange(-_REACH, _REACH, 1 / _CELLS) + 0.5 / _CELLS] * 2)
    cells = distance(x * reach + middle_x, y * reach + middle_y) / reach
    return cells.astype("float32")


@functools.cache
def points(shape):
    """Returns positions that cover a shape evenly."""
    row, column = np.nonzero(table(shape)[::8, ::8] < 0)
    return (column + 1j * row) * 8 / _CELLS - (1 + 1j) * _REACH


def _texture(rng, color, x, y):
    """Draws three waves in random directions, soft or hard, in shades of a colour.

    Args:
        rng: `numpy.random.Generator`.
        color: array of 3 numbers from 0 to 255.
        x: array, coordinate. Waves have a length from 0.7 to 3.
        y: array, the other coordinate. It broadcasts with `x`.

    Returns:
        float32 array of the shape of `x + y`, with a last axis of 3 channels.
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
    """Draws colours of background, shape, box, and four distractors.

    The first three are a dark, a medium and a bright colour in random order, so that
    they have contrast.
    """
    light = rng.permutation((55, 130, 205)) + rng.uniform(-12, 12, 3)
    light = np.concatenate([light, rng.uniform(30, 230, 4)])[:, None]
    tint = rng.uniform(-50, 50, (7, 3))
    tint -= tint @ np.array([[0.299], [0.587], [0.114]])  # keeps the lightness
    return np.clip(light + tint, 5, 250)


def _blend(frames, position, radius, angle, thing):
    """Draws a thing over frames, in place.

    Args:
        frames: float32 array of shape `(frames, height, width, 3)`.
        position: array, its position over time.
        radius: array or float, its size in pixels, the unit of its own coordinates.
        angle: array or float, its rotation.
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
    """Draws the position of the camera, which shakes a little."""
    return _wander(rng, 1.2, (8, 40)) + 1j * _wander(rng, 1.2, (8, 40))


def _form(shape, x, y):
    """Returns distances to a shape."""
    cells = table(shape)
    column, row = (
        ((axis + _REACH) * _CELLS).astype("int32").clip(0, len(cells) - 1)
        for axis in (x, y)
    )
    return cells[row, column]


def _wall(width, x, y):
    """Returns distances to the box that hides a shape, in the unit circle."""
    inner = np.hypot(1, width)
    return _box(x * inner, y * inner, -1, 1, -width, width) / inner


def _background(rng, color, camera):
    """Returns the texture of the background."""
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
