"""RandAugment for clips: each operation is the same for all frames.

Cubuk, Zoph, Shlens, Le: RandAugment. NeurIPS 2020. https://arxiv.org/abs/1909.13719

The operations are the 14 of the paper. Their ranges, and the probability of 0.5 of each
drawn operation, are those of timm's `rand-m7-n4-mstd0.5-inc1`, with which VideoMAE and
V-JEPA 2 were trained. A larger magnitude is always a stronger change.

`auto_contrast`, `equalize` and `contrast` use the statistics of the whole clip. So a
clip does not flicker.
"""

import numpy as np

from stzoo.data.frames import GREY

FILL = (124, 116, 104)  # the mean of ImageNet, where a moved frame leaves a gap
LARGEST = 10
DEVIATION = 0.5  # of the magnitude


def rand_augment(frames, count, magnitude, rng):
    """Applies random operations to a clip.

    Args:
        frames: uint8 array `(frames, height, width, 3)`, RGB.
        count: int, number of operations that are drawn. Each is applied with a
            probability of 0.5.
        magnitude: float from 0 to 10, the strength of the operations.
        rng: `np.random.Generator`.

    Returns:
        uint8 array of the same shape.
    """
    for name in rng.choice(list(OPERATIONS), count):
        drawn, applied = rng.normal(magnitude, DEVIATION), rng.random() < 0.5
        strength = np.clip(drawn, 0, LARGEST) / LARGEST
        sign = 1 if rng.random() < 0.5 else -1
        if applied:
            frames = OPERATIONS[name](frames, strength, sign)
    return frames


def identity(frames, strength, sign):
    return frames


def auto_contrast(frames, strength, sign):
    """Stretches each channel from the darkest to the brightest value of the clip."""
    least, most = frames.min((0, 1, 2)), frames.max((0, 1, 2))
    tables = [
        np.arange(256) if low >= high else (np.arange(256) - low) * 255 / (high - low)
        for low, high in zip(least.astype(int), most.astype(int), strict=True)
    ]
    return _looked_up(frames, tables)


def equalize(frames, strength, sign):
    """Gives all values of a channel about the same number of pixels in the clip."""
    tables = []
    for channel in range(3):
        counts = np.bincount(frames[..., channel].ravel(), minlength=256)
        below = np.cumsum(counts) - counts
        step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
        tables.append((step // 2 + below) // step if step else np.arange(256))
    return _looked_up(frames, tables)


def solarize(frames, strength, sign):
    """Inverts bright values."""
    values = np.arange(256)
    is_dark = values < 256 * (1 - strength)
    return _looked_up(frames, [np.where(is_dark, values, 255 - values)])


def posterize(frames, strength, sign):
    """Keeps the highest 4 to 0 bits of each value."""
    bits = 4 - int(4 * strength)
    return _looked_up(frames, [np.arange(256) >> (8 - bits) << (8 - bits)])


def brightness(frames, strength, sign):
    return _looked_up(frames, [np.arange(256) * (1 + 0.9 * sign * strength)])


def contrast(frames, strength, sign):
    grey = np.rint((frames.mean((0, 1, 2)) * GREY).sum())
    values = np.arange(256)
    return _looked_up(frames, [grey + (values - grey) * (1 + 0.9 * sign * strength)])


def color(frames, strength, sign):
    """Changes the saturation."""
    return _blended((frames @ GREY)[..., None], frames, 1 + 0.9 * sign * strength)


def sharpness(frames, strength, sign):
    """Sharpens or blurs frames. The outermost pixels stay the same."""
    inner, sums = frames[:, 1:-1, 1:-1], 0
    height, width = frames.shape[1:3]
    for row in range(3):
        for column in range(3):
            weight = 5 if row == column == 1 else 1
            part = frames[:, row : height - 2 + row, column : width - 2 + column]
            sums = sums + weight * part.astype("float32")
    result = frames.copy()
    result[:, 1:-1, 1:-1] = _blended(sums / 13, inner, 1 + 0.9 * sign * strength)
    return result


def rotate(frames, strength, sign):
    """Rotates frames around their centre, by up to 30 degrees."""
    angle = np.deg2rad(30 * sign * strength)
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return _moved(frames, turn)


def shear_x(frames, strength, sign):
    return _moved(frames, [[1, 0], [0.3 * sign * strength, 1]])


def shear_y(frames, strength, sign):
    return _moved(frames, [[1, 0.3 * sign * strength], [0, 1]])


def translate_x(frames, strength, sign):
    return _moved(frames, np.eye(2), (0, 0.45 * sign * strength * frames.shape[2]))


def translate_y(frames, strength, sign):
    return _moved(frames, np.eye(2), (0.45 * sign * strength * frames.shape[1], 0))


OPERATIONS = {
    operation.__name__: operation
    for operation in (
        *(identity, auto_contrast, equalize, rotate, solarize, color, posterize),
        *(contrast, brightness, sharpness, shear_x, shear_y, translate_x, translate_y),
    )
}


def _looked_up(frames, tables):
    """Replaces each value by that of a table, of all channels or of each."""
    tables = [np.rint(np.clip(table, 0, 255)).astype(np.uint8) for table in tables]
    if len(tables) == 1:
        return tables[0][frames]
    return np.stack([table[frames[..., n]] for n, table in enumerate(tables)], -1)


def _blended(plain, frames, factor):
    """Moves from `plain`, at 0, to `frames`, at 1, and beyond."""
    result = plain + np.float32(factor) * (frames - plain)
    return np.rint(result.clip(0, 255)).astype(np.uint8)


def _moved(frames, matrix, offset=(0, 0)):
    """Takes each pixel from the nearest place `matrix @ (row, column) + offset`."""
    size = np.array(frames.shape[1:3])
    centre = (size - 1) / 2
    places = np.stack(np.indices(size), -1) - centre
    places = places @ np.transpose(matrix) + centre + offset
    places = np.floor(places + 0.5).astype(int)
    is_inside = ((places >= 0) & (places < size)).all(-1)
    rows, columns = np.moveaxis(places.clip(0, size - 1), -1, 0)
    return np.where(is_inside[..., None], frames[:, rows, columns], np.uint8(FILL))
