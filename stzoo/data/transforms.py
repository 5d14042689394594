"""Changes the frames of a clip: crops, colours, and the augmentation of training clips.

Frames are uint8 RGB, `(..., height, width, 3)`, and all frames of a clip are changed in
the same way. See `stzoo.data.views` for the clips of a video.
"""

from dataclasses import dataclass

import numpy as np

from stzoo.data.frames import GREY, scale
from stzoo.data.randaugment import LARGEST

# The places of a crop, in quarters of the free space above it and left of it.
_PLACES = [(row, column) for row in (0, 2, 4) for column in (0, 2, 4)]
_PLACES += [(row, column) for row in (1, 3) for column in (1, 3)]


def check_regularisation(settings, name):
    """Checks the fields that `Augment` and a recipe share.

    Raises:
        ValueError: one of them has no possible value.
    """
    if settings.area and not 0 < settings.area[0] <= settings.area[1] <= 1:
        raise ValueError(
            f"{name}: area must be two shares of a frame, the smaller one first. "
            f"Received: {settings.area}."
        )
    for field in ("mixup", "cutmix"):
        if not 0 <= getattr(settings, field) < np.inf:
            raise ValueError(
                f"{name}: {field} must be a number of at least 0. "
                f"Received: {getattr(settings, field)!r}."
            )
    if type(settings.repeats) is not int or settings.repeats < 1:
        raise ValueError(
            f"{name}: repeats must be an integer, at least 1. "
            f"Received: {settings.repeats!r}."
        )
    if settings.randaugment is not None:
        count, magnitude = settings.randaugment
        if type(count) is not int or count < 1 or not 0 <= magnitude <= LARGEST:
            raise ValueError(
                f"{name}: randaugment must be a number of operations, at least 1, and "
                f"a magnitude from 0 to {LARGEST}. Received: {settings.randaugment}."
            )


@dataclass(frozen=True)
class Augment:
    """The augmentation of training clips. It is the same for all frames of a clip.

    Args:
        short_sides: tuple of two ints, the range of the shorter side to which frames
            are resized, in pixels, before a random crop. Default: from
            `ClipConfig.short_side` to 5 / 4 of it (CoST, Section 4.2: 256 to 320 for a
            crop of 224).
        scales: tuple of floats for the crops of TSN, instead of `short_sides`: frames
            are resized to `ClipConfig.short_side`, and a crop at one of 13 fixed places
            is resized to the input size. The sides of the crop are the largest possible
            ones, times a scale. The two scales are equal or adjacent in the tuple. TSN,
            TSM and GSM use `(1, 0.875, 0.75, 0.66)`.
        flip: bool, whether half of the clips are mirrored.
        pairs: dict from the index of a class to the index of its mirror image, which is
            the label of a mirrored clip. Clips of a class with `None` are not mirrored.
            See `stzoo.data.mirroring.mirror_pairs`. Default: no label changes, but
            `stzoo.data.pipeline.clips` finds the pairs by the names of the classes.
        jitter: float from 0 to 1, the strength of the changes of brightness, contrast
            and saturation. Their factors are from 1 - jitter to 1 + jitter.
        area: tuple of two floats for the random crops of Inception, instead of
            `short_sides`: the range of the area of a crop, as a share of the frame. Its
            aspect ratio is from 3 / 4 to 4 / 3, and it is resized to the input size.
            VideoMAE and V-JEPA 2 use `(0.08, 1)`.
        randaugment: tuple of the number of operations and their magnitude from 0 to 10,
            see `stzoo.data.randaugment`. `None`: no operations.
        mixup: float, the parameter of the beta distribution of mixup, see
            `stzoo.data.mixing`. 0: no mixup. The labels of mixed clips are
            probabilities, see `stzoo.data.pipeline.clips`.
        cutmix: float, the same for CutMix.
        repeats: int, how often a video is drawn in a batch (repeated augmentation,
            Hoffer et al., CVPR 2020). Each time it is another clip.
    """

    short_sides: tuple[int, int] | None = None
    scales: tuple[float, ...] = ()
    flip: bool = True
    pairs: dict[int, int | None] | None = None
    jitter: float = 0.0
    area: tuple[float, float] | None = None
    randaugment: tuple[int, float] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    repeats: int = 1

    @property
    def mixes(self):
        """Whether clips are mixed, so that their labels are probabilities."""
        return bool(self.mixup or self.cutmix)

    def __post_init__(self):
        crops = [self.short_sides, self.scales, self.area]
        if sum(map(bool, crops)) > 1:
            raise ValueError(
                "Augment: pass one of short_sides, scales and area. Received: "
                f"{', '.join(str(crop) for crop in crops if crop)}."
            )
        check_regularisation(self, "Augment")
        if not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(
                "Augment: scales must be above 0 and at most 1. "
                f"Received: {self.scales}."
            )
        if not 0 <= self.jitter <= 1:
            raise ValueError(
                f"Augment: jitter must be from 0 to 1. Received: {self.jitter}."
            )


def scaled_crop(frames, height, width, scales, rng):
    """Takes a random crop of TSN from all frames, and resizes it.

    This is "corner cropping" and "scale-jittering" of Temporal Segment Networks (ECCV
    2016), Section 3.3. The places are those of the published code: the 4 corners, the
    centre, the middles of the 4 sides, and 4 places between them.

    Args:
        frames: uint8 array `(..., height, width, 3)`.
        height: int, height of the result in pixels.
        width: int, width of the result in pixels.
        scales: tuple of floats, largest first.
        rng: `np.random.Generator`.

    Returns:
        uint8 array `(..., height, width, 3)`.
    """
    _check_resized(height, width, "scales")
    full = frames.shape[-3:-1]
    largest = min(full[0] / height, full[1] / width)
    numbers = range(len(scales))
    sizes = [(i, j) for i in numbers for j in numbers if abs(i - j) <= 1]
    rows, columns = sizes[rng.integers(len(sizes))]
    size = (
        int(height * largest * scales[rows]),
        int(width * largest * scales[columns]),
    )
    quarters = _PLACES[rng.integers(len(_PLACES))]
    top, left = (
        quarter * (room - side) // 4
        for quarter, room, side in zip(quarters, full, size, strict=True)
    )
    return scale(
        frames[..., top : top + size[0], left : left + size[1], :], height, width
    )


def area_crop(frames, height, width, area, rng):
    """Takes a random crop of Inception from all frames, and resizes it.

    Szegedy et al.: Going Deeper with Convolutions. CVPR 2015, Section 6. The aspect
    ratio is drawn on a logarithmic scale, as in torchvision.

    Args:
        frames: uint8 array `(..., height, width, 3)`.
        height: int, height of the result in pixels.
        width: int, width of the result in pixels.
        area: tuple of two floats, range of the share of the frame.
        rng: `np.random.Generator`.

    Returns:
        uint8 array `(..., height, width, 3)`.
    """
    _check_resized(height, width, "area")
    full = frames.shape[-3:-1]
    pixels = full[0] * full[1] * rng.uniform(*area)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    sides = round((pixels / ratio) ** 0.5), round((pixels * ratio) ** 0.5)
    sides = [min(max(side, 1), most) for side, most in zip(sides, full, strict=True)]
    return scale(crop(frames, *sides, "random", rng), height, width)


def _check_resized(height, width, name):
    if height is None or width is None:
        raise ValueError(
            f"`{name}` needs a clip with a height and a width. Set both in its "
            f"ClipConfig, or omit `{name}`."
        )


def jitter(frames, strength, rng):
    """Changes brightness, contrast and saturation, in the same way for all frames.

    Args:
        frames: uint8 array `(frames, height, width, 3)`.
        strength: float. The factors are from `1 - strength` to `1 + strength`.
        rng: `np.random.Generator`.

    Returns:
        uint8 array of the same shape.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    colours = frames.astype("float32") * np.float32(brightness)
    grey = colours @ GREY
    colours -= grey[..., None]
    colours *= np.float32(saturation * contrast)
    grey = (grey - grey.mean()) * np.float32(contrast) + grey.mean()
    colours += grey[..., None]
    return np.rint(colours.clip(0, 255, out=colours), out=colours).astype(np.uint8)


def crop(frames, height, width, where="center", rng=None):
    """Crops all frames at the same place.

    Args:
        frames: array `(..., height, width, channels)`.
        height: int, pixels. `None`: the whole height.
        width: int, pixels. `None`: the whole width.
        where: `"center"`, `"random"`, or a number from 0 to 1, the place along the
            longer side of the frame (three crops are at 0, 0.5 and 1), in the middle of
            the shorter side.
        rng: `np.random.Generator` for `"random"`.

    Returns:
        Array `(..., height, width, channels)`, a view of `frames`.

    Raises:
        ValueError: the frames are smaller than the crop.
    """
    full = frames.shape[-3:-1]
    size = (full[0] if height is None else height, full[1] if width is None else width)
    room = (full[0] - size[0], full[1] - size[1])
    if min(room) < 0:
        raise ValueError(
            f"A crop of {size[0]}x{size[1]} (height x width) is larger than frames of "
            f"{full[0]}x{full[1]}. Choose a larger short_side."
        )
    if where == "random":
        top, left = (int(rng.integers(spare + 1)) for spare in room)
    else:
        places = [0.5, 0.5]
        if where != "center":
            places[full[1] >= full[0]] = where
        top, left = (
            int(place * spare) for place, spare in zip(places, room, strict=True)
        )
    return frames[..., top : top + size[0], left : left + size[1], :]
