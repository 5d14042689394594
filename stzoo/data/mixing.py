"""Mixes the clips of a batch: mixup and CutMix.

Zhang, Cisse, Dauphin, Lopez-Paz: mixup. ICLR 2018. https://arxiv.org/abs/1710.09412

Yun et al.: CutMix. ICCV 2019. https://arxiv.org/abs/1905.04899
"""

import numpy as np


def mix(views, labels, augment, rng):
    """Mixes each clip of a batch with the one at the same place from the end.

    The share of the other clip is drawn once for a batch, as in timm. It is the same in
    all frames. So is the box of CutMix, which replaces a part of the frame by that of
    the other clip. If both methods are set, each is used for half of the batches.

    Args:
        views: uint8 array `(batch, frames, height, width, channels)`.
        labels: float array `(batch, classes)`, probabilities.
        augment: `stzoo.data.transforms.Augment`, with `mixup` or `cutmix`.
        rng: `np.random.Generator`.

    Returns:
        A tuple of the mixed clips, uint8, and their labels, float32
        `(batch, classes)`.
    """
    alphas = [augment.mixup, augment.cutmix]
    cuts = rng.random() < 0.5 if all(alphas) else bool(augment.cutmix)
    share = rng.beta(alphas[cuts], alphas[cuts])  # of the clip itself
    if cuts:
        rows, columns = box(views.shape[2:4], 1 - share, rng)
        mixed = views.copy()
        mixed[:, :, rows, columns] = views[::-1, :, rows, columns]
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        share = 1 - area / np.prod(views.shape[2:4])
    else:
        mixed = np.empty_like(views)
        for one, other, result in zip(views, views[::-1], mixed, strict=True):
            result[:] = np.rint(np.float32(share) * one + np.float32(1 - share) * other)
    return mixed, (share * labels + (1 - share) * labels[::-1]).astype(np.float32)


def box(size, area, rng):
    """Draws the box of CutMix. Its centre can be anywhere in the frame.

    Args:
        size: tuple of ints, height and width of a frame.
        area: float, the share of the frame that a box inside of the frame has.
        rng: `np.random.Generator`.

    Returns:
        Tuple of two slices, rows and columns.
    """
    slices = []
    for side in size:
        half, centre = int(side * area**0.5) // 2, int(rng.integers(side))
        slices.append(slice(max(centre - half, 0), min(centre + half, side)))
    return tuple(slices)


def one_hot(labels, classes):
    """Returns labels as probabilities, float32 `(batch, classes)`."""
    labels = np.asarray(labels)
    if labels.ndim == 2:  # several labels for each clip
        return labels.astype(np.float32)
    return np.eye(classes, dtype=np.float32)[labels]


def split(batches, parts):
    """Yields the parts of each batch, for the accumulation of gradients.

    Args:
        batches: iterable of tuples of arrays.
        parts: int. The size of a batch must be divisible by it.
    """
    for batch in batches:
        yield from zip(*(np.split(array, parts) for array in batch), strict=True)
