"""From a video to what a model is fed: sampled, resized, cropped, as `ClipConfig` says.

All functions work on frames `(..., height, width, 3)` of uint8, RGB. Where a video is
asked for, it is what `stzoo.data.decoders.open_video` yields, or an array of its frames
`(frames, height, width, 3)`. A model that takes optical flow (the channels of its
`ClipConfig` say so) is given 2 channels, or 5, RGB and flow, see `stzoo.data.flow`; and
of a video of N frames the N - 1 that have a next one. These functions do not
normalise: that is the first layer of a model.
"""

from dataclasses import dataclass

import numpy as np

from stzoo.data import sampling
from stzoo.data.flow import FlowVideo, mirror
from stzoo.data.frames import Resampled, as_video, scale
from stzoo.data.video import errors_named

_GREY = np.array([0.299, 0.587, 0.114], "float32")  # ITU-R BT.601
# Where a crop may stand, in quarters of the room above it and beside it.
_PLACES = [(row, column) for row in (0, 2, 4) for column in (0, 2, 4)]
_PLACES += [(row, column) for row in (1, 3) for column in (1, 3)]


class Views:
    """The views of a video, cut out of its frames when they are asked for.

    What is held is each frame that is seen, once. `views[rows]`, with a slice or an
    int array, is a uint8 array `(rows, frames, height, width, channels)`.

    Args:
        video, clip, views, rng: as of `clip_views`.

    Raises:
        ValueError: as `clip_views`.

    Attributes:
        total: int, the number of frames of the video that clips can show.
    """

    def __init__(self, video, clip, views="1x1", rng=None):
        clips, crops = sampling.parse_views(views)
        if clip.height is None and crops > 1:
            raise ValueError(
                f"views={views!r} asks for {crops} crops, but this model takes the "
                f'whole frame. Pass views="{clips}x1".'
            )
        places = ("center",) if crops == 1 else np.linspace(0, 1, crops)
        size = clip.height, clip.width
        video = _prepared(video, clip)
        self.total = len(video)
        with errors_named(video.name):
            frames, self._places = _sampled(video, clip, clips, clip.short_side, rng)
            self._cut = [crop(frames, *size, where) for where in places]

    def __len__(self):
        return len(self._places) * len(self._cut)

    def __getitem__(self, rows):
        clips, crops = divmod(np.arange(len(self))[rows], len(self._cut))
        pairs = zip(clips, crops, strict=True)
        return np.stack([self._cut[j][self._places[i]] for i, j in pairs])


def clip_views(video, clip, views="1x1", rng=None):
    """The views of a video on which a model is evaluated.

    Args:
        video: `Video`, or uint8 array `(frames, height, width, 3)`.
        clip: `stzoo.weights.config.ClipConfig`, what the model expects.
        views: string, clips x crops: `"1x1"` is the middle of the video and of the
            frame, `"10x3"` ten clips over the length of the video and of each three
            crops along the longer side of the frame.
        rng: `np.random.Generator` for random clips, one from each part of the video;
            `None` for the middle of each part.

    Returns:
        uint8 array `(clips * crops, frames, height, width, channels)`, the crops of
        the first clip first. Without `clip.height` the frames are not cropped.

    Raises:
        ValueError: if `views` cannot be read, if several crops are asked for but
            `clip` has no height, or if the crop is larger than the resized frame.
    """
    return Views(video, clip, views, rng)[:]


@dataclass(frozen=True)
class Augment:
    """How a clip is varied in training: one crop, one flip, one colour for all frames.

    Args:
        short_sides: tuple of ints, the smallest and the largest shorter side to which
            frames are resized, in pixels, before a crop at a random place (CoST,
            Section 4.2: 256 to 320 for a crop of 224). Default: from
            `ClipConfig.short_side` to 5 / 4 of it, which is that.
        scales: tuple of floats instead, for the crops of TSN: frames are resized to
            `ClipConfig.short_side`, and a crop at one of 13 fixed places is resized to
            the model's size. Its height and its width are the largest that fits, times
            one scale or two neighbouring ones; TSN, TSM and GSM have
            `(1, 0.875, 0.75, 0.66)`.
        flip: bool, whether every other clip is mirrored.
        pairs: dict from the index of a class to that of its mirror image, which is the
            label of a mirrored clip, or to `None` where there is none: clips of such
            a class are not mirrored. See `stzoo.data.mirroring.mirror_pairs`. Default:
            what the names of the classes tell, where they are known, as in
            `stzoo.data.pipeline.clips`; else no label changes.
        jitter: float from 0 (none) to 1, how far brightness, contrast and saturation
            are changed: each is multiplied by 1 - jitter to 1 + jitter.
    """

    short_sides: tuple[int, int] | None = None
    scales: tuple[float, ...] = ()
    flip: bool = True
    pairs: dict[int, int | None] | None = None
    jitter: float = 0.0

    def __post_init__(self):
        if self.short_sides and self.scales:
            raise ValueError(
                "Augment: short_sides and scales are two ways to crop. Choose one. "
                f"Received: {self.short_sides} and {self.scales}."
            )
        if not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(
                f"Augment: scales must be above 0, and at most 1. Got {self.scales}."
            )
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"Augment: jitter must be in 0 to 1. Got {self.jitter}.")


def training_clip(video, clip, rng, augment=Augment(), label=None):
    """A random clip of a video, with one crop and one flip for all of its frames.

    Args:
        video: `Video`, or uint8 array `(frames, height, width, 3)`.
        clip: `stzoo.weights.config.ClipConfig`, what the model expects.
        rng: `np.random.Generator`.
        augment: `Augment`.
        label: int, the class of the video, or `None`.

    Returns:
        A tuple of a uint8 array `(frames, height, width, channels)` and the label,
        which is another one where the clip is mirrored and `augment.pairs` says so.

    Raises:
        ValueError: if the crop is larger than the resized frame.
    """
    short_side = clip.short_side
    if not augment.scales:
        least, most = augment.short_sides or (short_side, short_side * 5 // 4)
        short_side = int(rng.integers(least, most + 1))
    size = clip.height, clip.width
    video = _prepared(video, clip)
    with errors_named(video.name):
        frames, (places,) = _sampled(video, clip, 1, short_side, rng)
        frames = frames[places]
        if augment.scales:
            frames = scaled_crop(frames, *size, augment.scales, rng)
        else:
            frames = crop(frames, *size, "random", rng)
    mirrored = (augment.pairs or {}).get(label, label)
    if augment.flip and rng.random() < 0.5 and (label is None or mirrored is not None):
        frames, label = mirror(frames), mirrored
    if augment.jitter and frames.shape[-1] != 2:
        frames[..., :3] = jitter(frames[..., :3], augment.jitter, rng)
    return frames, label


def scaled_crop(frames, height, width, scales, rng):
    """Cuts one of TSN's crops out of all frames, and resizes it.

    Temporal Segment Networks (ECCV 2016), Section 3.3, "corner cropping" and
    "scale-jittering", with the places of the published code: 4 corners, the middle,
    the middles of 4 sides and 4 places between.

    Args:
        frames: uint8 array `(..., height, width, 3)`.
        height: int, pixels of the result.
        width: int, pixels.
        scales: tuple of floats, largest first.
        rng: `np.random.Generator`.

    Returns:
        uint8 array `(..., height, width, 3)`.
    """
    if height is None or width is None:
        raise ValueError(
            "Crops in several scales are resized to the size of the clip, but the clip "
            "has no height and width. Give it both, or leave out `scales`."
        )
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


def jitter(frames, strength, rng):
    """Changes brightness, contrast and saturation of all frames alike.

    Args:
        frames: uint8 array `(frames, height, width, 3)`.
        strength: float, the factors are from `1 - strength` to `1 + strength`.
        rng: `np.random.Generator`.

    Returns:
        uint8 array of the same shape.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    colours = frames.astype("float32") * np.float32(brightness)
    grey = colours @ _GREY
    colours -= grey[..., None]
    colours *= np.float32(saturation * contrast)
    grey = (grey - grey.mean()) * np.float32(contrast) + grey.mean()
    colours += grey[..., None]
    return np.rint(colours.clip(0, 255, out=colours), out=colours).astype(np.uint8)


def crop(frames, height, width, where="center", rng=None):
    """Cuts the same rectangle out of all frames.

    Args:
        frames: array `(..., height, width, channels)`.
        height: int, pixels, or `None` for the whole frame.
        width: int, pixels, or `None`.
        where: `"center"`; a number from 0 to 1, the place along the longer side of
            the frame (three crops are at 0, 0.5 and 1) and the middle of the other;
            or `"random"`.
        rng: `np.random.Generator` for `"random"`.

    Returns:
        Array `(..., height, width, channels)`, a view of `frames`.

    Raises:
        ValueError: if the frames are smaller than the crop.
    """
    full = frames.shape[-3:-1]
    size = (full[0] if height is None else height, full[1] if width is None else width)
    room = (full[0] - size[0], full[1] - size[1])
    if min(room) < 0:
        raise ValueError(
            f"A crop of {size[0]}x{size[1]} (height x width) does not fit into frames "
            f"of {full[0]}x{full[1]}. Choose a larger short_side."
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


def read_clips(video, clip, indices):
    """Clips of resized frames, of optical flow, or of both, as the model takes them.

    Args:
        video: `Video`, or uint8 array `(frames, height, width, channels)`, of RGB, or
            of RGB and optical flow, as `FlowVideo` reads it.
        clip: `stzoo.weights.config.ClipConfig`.
        indices: int array `(clips, frames)`, below `length(video, clip)`.

    Returns:
        uint8 array `(clips, frames, height, width, channels)`.
    """
    frames, places = _read(_prepared(video, clip), clip, indices, clip.short_side)
    return frames[places]


def length(video, clip):
    """How many frames of a video a clip can show: with flow, those with a next one."""
    return len(_prepared(video, clip))


def _prepared(video, clip):
    """A video as `read` gives it to a model: with optical flow if it takes any."""
    video = as_video(video)
    if clip.sample_fps:
        video = Resampled(video, clip.sample_fps)
    if clip.uses_flow and video.channels == 3:
        return FlowVideo(video, clip.short_side, clip.flow)
    return video


def _read(video, clip, indices, short_side):
    """Each frame of some clips once, `(frames, height, width, channels)`, and where."""
    wanted, places = np.unique(indices, return_inverse=True)
    channels = slice(-len(clip.mean), None) if clip.uses_flow else slice(3)
    frames = video.read(wanted, short_side)[..., channels]
    return frames, places.reshape(indices.shape)


def clip_indices(total, clip, clips, rng=None):
    """Which frames of a video its clips show.

    Args:
        total: int, number of frames of the video.
        clip: `stzoo.weights.config.ClipConfig`.
        clips: int, number of clips.
        rng: `np.random.Generator` for random clips, or `None`.

    Returns:
        Int array `(clips, frames)` of indices below `total`.
    """
    if clip.frames is None:
        raise ValueError(
            "ClipConfig.frames is None: give it the number of frames of a clip."
        )
    counts = {"clips": clips, "rng": rng, "snippet": clip.snippet}
    if clip.sampling == "segments":
        return sampling.segments(total, clip.frames, **counts)
    return sampling.dense(total, clip.frames, clip.stride, **counts)


def _sampled(video, clip, clips, short_side, rng=None):
    """Each frame of so many clips once, and where it belongs, `(clips, frames)`."""
    return _read(video, clip, clip_indices(len(video), clip, clips, rng), short_side)
