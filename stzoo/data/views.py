"""Samples clips of a video: views for evaluation, random clips for training.

Frames are uint8 RGB, `(..., height, width, 3)`. A video is the result of
`stzoo.data.decoders.open_video`, or an array `(frames, height, width, 3)`. For a model
with optical flow (see `ClipConfig.uses_flow`), clips have 2 channels, or 5: RGB and
flow, see `stzoo.data.flow`. The last frame of a video is then not used, since its flow
is unknown. These functions do not normalise, since the first layer of a model does.
"""

import numpy as np

from stzoo.data import sampling
from stzoo.data.flow import FlowVideo, mirror
from stzoo.data.frames import Resampled, as_video
from stzoo.data.mirroring import mirrored_label
from stzoo.data.randaugment import rand_augment
from stzoo.data.transforms import Augment, area_crop, crop, jitter, scaled_crop
from stzoo.data.video import errors_named


class Views:
    """The views of a video, which are cropped on access.

    Each sampled frame is in memory once. `views[rows]`, with a slice or an int array,
    is a uint8 array `(rows, frames, height, width, channels)`.

    Args:
        video, clip, views, rng: see `clip_views`.

    Raises:
        ValueError: see `clip_views`.

    Attributes:
        total: int, the number of frames of the video that can be sampled.
    """

    def __init__(self, video, clip, views="1x1", rng=None):
        clips, crops = sampling.parse_views(views)
        if clip.height is None and crops > 1:
            raise ValueError(
                f"views={views!r} has {crops} crops, but this model uses the whole "
                f'frame. Pass views="{clips}x1".'
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
    """Samples the views of a video for evaluation.

    Args:
        video: `Video`, or uint8 array `(frames, height, width, 3)`.
        clip: `stzoo.weights.config.ClipConfig`, the input of the model.
        views: string, clips x crops. `"1x1"` is the middle of the video and the centre
            of the frame. `"10x3"` is ten clips over the whole video, with three crops
            each along the longer side of the frame.
        rng: `np.random.Generator` for a random clip from each part of the video.
            `None`: the middle of each part.

    Returns:
        uint8 array `(clips * crops, frames, height, width, channels)`, first all crops
        of the first clip. Without `clip.height`, frames are not cropped.

    Raises:
        ValueError: `views` is invalid, there are several crops but `clip` has no
            height, or the crop is larger than the resized frame.
    """
    return Views(video, clip, views, rng)[:]


def training_clip(video, clip, rng, augment=Augment(), label=None):
    """Samples a random clip of a video, with one crop and one flip for all frames.

    Args:
        video: `Video`, or uint8 array `(frames, height, width, 3)`.
        clip: `stzoo.weights.config.ClipConfig`, the input of the model.
        rng: `np.random.Generator`.
        augment: `Augment`.
        label: int, the class of the video, or tuple of 0 and 1, one for each class, or
            `None`.

    Returns:
        A tuple of a uint8 array `(frames, height, width, channels)` and the label. A
        mirrored clip has the label of `augment.pairs`.

    Raises:
        ValueError: the crop is larger than the resized frame.
    """
    short_side = clip.short_side
    if not (augment.scales or augment.area):
        least, most = augment.short_sides or (short_side, short_side * 5 // 4)
        short_side = int(rng.integers(least, most + 1))
    size = clip.height, clip.width
    video = _prepared(video, clip)
    with errors_named(video.name):
        frames, (places,) = _sampled(video, clip, 1, short_side, rng)
        frames = frames[places]
        if augment.scales:
            frames = scaled_crop(frames, *size, augment.scales, rng)
        elif augment.area:
            frames = area_crop(frames, *size, augment.area, rng)
        else:
            frames = crop(frames, *size, "random", rng)
    mirrored = mirrored_label(label, augment.pairs or {})
    if augment.flip and rng.random() < 0.5 and (label is None or mirrored is not None):
        frames, label = mirror(frames), mirrored
    if augment.randaugment:
        frames = rand_augment(frames, *augment.randaugment, rng)
    if augment.jitter and frames.shape[-1] != 2:
        frames[..., :3] = jitter(frames[..., :3], augment.jitter, rng)
    return frames, label


def read_clips(video, clip, indices):
    """Reads clips of given frames, resized, with the channels of the model.

    Args:
        video: `Video`, or uint8 array `(frames, height, width, channels)` of RGB, or of
            RGB and optical flow, see `FlowVideo`.
        clip: `stzoo.weights.config.ClipConfig`.
        indices: int array `(clips, frames)`, below `length(video, clip)`.

    Returns:
        uint8 array `(clips, frames, height, width, channels)`.
    """
    frames, places = _read(_prepared(video, clip), clip, indices, clip.short_side)
    return frames[places]


def length(video, clip):
    """Returns the number of frames of a video that can be sampled."""
    return len(_prepared(video, clip))


def _prepared(video, clip):
    """Resamples a video and adds optical flow, if the model needs it."""
    video = as_video(video)
    if clip.sample_fps:
        video = Resampled(video, clip.sample_fps)
    if clip.uses_flow and video.channels == 3:
        return FlowVideo(video, clip.short_side, clip.flow)
    return video


def _read(video, clip, indices, short_side):
    """Reads each frame of some clips once. Returns the frames and their places."""
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
        raise ValueError("ClipConfig.frames is None. Set the number of frames.")
    counts = {"clips": clips, "rng": rng, "snippet": clip.snippet}
    if clip.sampling == "segments":
        return sampling.segments(total, clip.frames, **counts)
    return sampling.dense(total, clip.frames, clip.stride, **counts)


def _sampled(video, clip, clips, short_side, rng=None):
    """Reads the frames of sampled clips, see `_read`."""
    return _read(video, clip, clip_indices(len(video), clip, clips, rng), short_side)
