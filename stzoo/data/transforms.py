"""From a video to what a model is fed: sampled, resized, cropped, as `Clip` says.

All functions work on frames `(..., height, width, 3)` of uint8, RGB. Where a video is
asked for, it is a `stzoo.data.video.Video` or an array of its frames
`(frames, height, width, 3)`. Normalisation is no business of theirs: it is the first
layer of a model.
"""

import numpy as np

from stzoo.data import sampling
from stzoo.data.video import scaled_size


def clip_views(video, clip, views="1x1", rng=None):
    """The views of a video on which a model is evaluated.

    Args:
        video: `Video`, or uint8 array `(frames, height, width, 3)`.
        clip: `stzoo.spec.Clip`, what the model expects.
        views: string, clips x crops: `"1x1"` is the middle of the video and of the
            frame, `"10x3"` ten clips over the length of the video and of each three
            crops along the longer side of the frame.
        rng: `np.random.Generator` for random clips, one from each part of the video;
            `None` for the middle of each part.

    Returns:
        uint8 array `(clips * crops, frames, height, width, 3)`, the crops of the
        first clip first. Without `clip.height` the frames are not cropped.

    Raises:
        ValueError: if `views` cannot be read, if several crops are asked for but
            `clip` has no height, or if the crop is larger than the resized frame.
    """
    clips, crops = sampling.parse_views(views)
    if clip.height is None and crops > 1:
        raise ValueError(
            f"views={views!r} asks for {crops} crops, but this model takes the whole "
            f'frame. Pass views="{clips}x1".'
        )
    frames = _clips(video, clip, clips, clip.short_side, rng)
    places = ("center",) if crops == 1 else np.linspace(0, 1, crops)
    cut = [crop(frames, clip.height, clip.width, where) for where in places]
    return np.stack(cut, axis=1).reshape(-1, *cut[0].shape[1:])


def training_clip(video, clip, rng, flip=True, short_sides=None):
    """A random clip of a video, with one crop and one flip for all of its frames.

    As CoST was trained (Section 4.2): the shorter side of the frames is resized to a
    random number of pixels, and the crop is taken at a random place.

    Args:
        video: `Video`, or uint8 array `(frames, height, width, 3)`.
        clip: `stzoo.spec.Clip`, what the model expects.
        rng: `np.random.Generator`.
        flip: bool, whether every other clip is mirrored. To be turned off where left
            and right are different classes.
        short_sides: tuple of ints, the smallest and the largest shorter side in
            pixels. Default: from `clip.short_side` to 5 / 4 of it, which is the
            paper's 256 to 320.

    Returns:
        uint8 array `(frames, height, width, 3)`.

    Raises:
        ValueError: if the crop is larger than the resized frame.
    """
    least, most = short_sides or (clip.short_side, clip.short_side * 5 // 4)
    (frames,) = _clips(video, clip, 1, int(rng.integers(least, most + 1)), rng)
    frames = crop(frames, clip.height, clip.width, "random", rng)
    return frames[:, :, ::-1].copy() if flip and rng.random() < 0.5 else frames


def resize(frames, short_side):
    """Resizes frames until their shorter side has `short_side` pixels.

    Bilinear and antialiased, as Pillow's `BILINEAR`, to which it is equal but for
    rounding (1 of 255).

    Args:
        frames: uint8 array `(..., height, width, 3)`.
        short_side: int, pixels.

    Returns:
        uint8 array of the same form, of the size that `scaled_size` gives.
    """
    from av import VideoFrame
    from av.video.reformatter import VideoReformatter

    height, width = scaled_size(frames.shape[-3:-1], short_side)
    if (height, width) == frames.shape[-3:-1]:
        return frames
    planes = np.moveaxis(frames, -1, -3).reshape(-1, 3, *frames.shape[-3:-1])
    result = np.empty((len(planes), 3, height, width), np.uint8)
    # Called Y, U and V, the three channels are scaled as they are. Called R, G and B,
    # they would go through YUV and back.
    reformatter = VideoReformatter()
    for one, scaled in zip(planes, result, strict=True):
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(one), format="yuv444p")
        scaled[:] = reformatter.reformat(frame, width, height).to_ndarray()
    return np.moveaxis(result, 1, -1).reshape(*frames.shape[:-3], height, width, 3)


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


def _clips(video, clip, clips, short_side, rng=None):
    """Clips of resized frames: uint8 `(clips, frames, height, width, 3)`."""
    if clip.frames is None:
        raise ValueError("Clip.frames is None: give it the number of frames of a clip.")
    is_array = isinstance(video, np.ndarray)
    if is_array and (video.dtype != np.uint8 or video.shape[3:] != (3,)):
        raise ValueError(
            "The frames of a video must be a uint8 array (frames, height, width, 3). "
            f"Received: {video.dtype} {video.shape}."
        )
    if clip.sampling == "segments":
        indices = sampling.segments(len(video), clip.frames, clips, rng)
    else:
        indices = sampling.dense(len(video), clip.frames, clip.stride, clips, rng)
    wanted, places = np.unique(indices, return_inverse=True)
    if is_array:
        frames = resize(video[wanted], short_side)
    else:
        frames = video.read(wanted, short_side)
    return frames[places.reshape(indices.shape)]
