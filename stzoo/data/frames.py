"""Videos from other sources than one file: an array, a folder of images, a decoder.

Every video is an object with:

* `name`, its name in error messages, or `None`;
* `path`, its location, or `None`;
* `channels`: 3 for RGB, or 5 for RGB and optical flow;
* `len(video)`, the number of frames;
* `seconds`: array, when each frame is shown, or `None` if that is not known;
* `read(indices, short_side=None)`: uint8 `(indices, height, width, channels)`.

`stzoo.data.video.Video` (a file), `Frames` and `stzoo.data.flow.FlowVideo` have them.
"""

import numpy as np

from stzoo.data.video import errors_named, scaled_size

GREY = np.array([0.299, 0.587, 0.114], "float32")  # ITU-R BT.601


def as_video(video):
    """Returns a video, given as itself or as an array of frames.

    Args:
        video: a video, or uint8 array `(frames, height, width, channels)`.

    Raises:
        ValueError: `video` is neither of them.
    """
    if not isinstance(video, np.ndarray):
        if not hasattr(video, "channels"):
            raise ValueError(
                "A video must be a Video or a NumPy array of its frames. Received: "
                f"{type(video).__name__}."
            )
        return video
    if video.dtype != np.uint8 or video.shape[3:] not in ((3,), (5,)) or not video.size:
        raise ValueError(
            "The frames of a video must be a uint8 array (frames, height, width, 3), "
            "or 5 with optical flow, of at least one frame and one pixel. Received: "
            f"{video.dtype} {video.shape}."
        )
    return Frames(None, len(video), video.__getitem__, video.shape[3])


class Frames:
    """A video whose frames come from a function.

    Args:
        name: string, path or URL of the video, or `None` if it has none.
        length: int, number of frames.
        fetch: function from an array of unique, sorted indices to a uint8 array
            `(indices, height, width, channels)`.
        channels: int, 3 for RGB, or 5 for RGB and optical flow.
        seconds: array `(length,)`, when each frame is shown, or `None`.
    """

    def __init__(self, name, length, fetch, channels=3, seconds=None):
        self.name = self.path = name
        self.channels, self.seconds = channels, seconds
        self._length, self._fetch = length, fetch

    def __len__(self):
        return self._length

    def read(self, indices, short_side=None):
        """Reads frames, see `stzoo.data.video.Video.read`."""
        with errors_named(self.name):
            return self._read(indices, short_side)

    def _read(self, indices, short_side):
        indices = np.asarray(indices, dtype=int).reshape(-1)
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
            raise ValueError(
                f"{self.name or 'The video'} has {len(self)} frames, "
                f"0 to {len(self) - 1}. "
                f"Received indices from {indices.min()} to {indices.max()}."
            )
        wanted, places = np.unique(indices, return_inverse=True)
        frames = self._fetch(wanted)
        return (resize(frames, short_side) if short_side else frames)[places]


class Resampled:
    """A video resampled to another frame rate.

    Each frame is the one that the original shows at that time, so frames are repeated
    or dropped, but never mixed.

    Args:
        video: a video with timestamps.
        fps: float, frames per second.

    Raises:
        ValueError: the video has no timestamps.
    """

    def __init__(self, video, fps):
        if video.seconds is None:
            raise ValueError(
                f"{video.name or 'The video'} has no frame rate. Pass a video file, or "
                "remove sample_fps."
            )
        self.name, self.path, self.channels = video.name, video.path, video.channels
        self.video = video
        times = np.asarray(video.seconds, float)
        last = np.diff(times)[-1] if len(times) > 1 else 1 / fps
        count = max(1, round((times[-1] - times[0] + last) * fps))
        self.seconds = times[0] + np.arange(count) / fps
        # Uses the middle of the time of a frame, since its start can be rounded.
        middles = self.seconds + 0.5 / fps
        self._shown = np.searchsorted(times, middles, side="right") - 1

    def __len__(self):
        return len(self._shown)

    def read(self, indices, short_side=None):
        """Reads frames, see `stzoo.data.video.Video.read`."""
        return self.video.read(self._shown[np.asarray(indices, int)], short_side)


def resize(frames, short_side):
    """Resizes frames, so that their shorter side has `short_side` pixels.

    Resizing is bilinear and antialiased. It equals Pillow's `BILINEAR` up to rounding
    (1 of 255).

    Args:
        frames: uint8 array `(..., height, width, channels)`.
        short_side: int, pixels.

    Returns:
        uint8 array `(..., new_height, new_width, channels)`, see `scaled_size`.
    """
    return scale(frames, *scaled_size(frames.shape[-3:-1], short_side))


def scale(frames, height, width):
    """Resizes frames to a height and a width, bilinear and antialiased."""
    from av import VideoFrame
    from av.video.reformatter import VideoReformatter

    if (height, width) == frames.shape[-3:-1]:
        return frames
    channels = frames.shape[-1]
    spare = -channels % 3  # flow is padded with an empty plane
    full = np.pad(frames, [*[(0, 0)] * (frames.ndim - 1), (0, spare)])
    planes = np.moveaxis(full, -1, -3).reshape(-1, 3, *frames.shape[-3:-1])
    result = np.empty((len(planes), 3, height, width), np.uint8)
    # As Y, U and V, the three channels are scaled directly. As R, G and B, they would
    # be converted to YUV and back.
    reformatter = VideoReformatter()
    for one, scaled in zip(planes, result, strict=True):
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(one), format="yuv444p")
        scaled[:] = reformatter.reformat(frame, width, height).to_ndarray()
    result = result.reshape(*frames.shape[:-3], channels + spare, height, width)
    return np.moveaxis(result, -3, -1)[..., :channels]
