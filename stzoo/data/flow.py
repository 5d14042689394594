"""Optical flow: the motion of each pixel from one frame to the next.

The format is that of two-stream networks (Simonyan, Zisserman: Two-Stream Convolutional
Networks for Action Recognition in Videos. NIPS 2014; Wang et al.: Temporal Segment
Networks. ECCV 2016): x to the right and y down, in pixels, clipped to 20, as uint8 with
128 for no motion. A step is 20 / 127 of a pixel (40 / 255 in the papers), so that a
mirrored x is exactly 256 - x. Pixels are those of frames resized to
`ClipConfig.short_side`. If training resizes further, flow is resized like an image.

The algorithm is DIS (Kroeger, Timofte, Dai, Van Gool: Fast Optical Flow using Dense
Inverse Search. ECCV 2016) of OpenCV, with its default preset. It needs the extra `flow`
of stzoo. Two-stream networks used TV-L1, which is not one of OpenCV's main modules. It
needs `opencv-contrib-python-headless` instead of `opencv-python-headless`.

The environment variable `STZOO_FLOW_CACHE` can name a folder that caches the flow of
files. The flow of a whole video is computed on the first access. Each video has a file,
named by the hash of the content of the video, the size of frames and the algorithm. The
file is written atomically.
"""

import hashlib
import io
import itertools
import logging
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from stzoo import writer
from stzoo.data import files
from stzoo.data.frames import resize

logger = logging.getLogger("stzoo")
BOUND, ZERO = 20, 128  # pixels; the value of no motion
CHUNK = 64  # frames in memory at a time


def optical_flow(frames, method="dis"):
    """Computes the flow from each frame to the next.

    Args:
        frames: uint8 array `(frames, height, width, 3)`, RGB.
        method: `"dis"`, or `"tvl1"` (needs the contributed modules of OpenCV).

    Returns:
        uint8 array `(frames - 1, height, width, 2)`.

    Raises:
        ImportError: OpenCV is not installed, or has no TV-L1.
        ValueError: the frames are too small.
    """
    try:
        import cv2
    except ImportError:
        raise ImportError(
            'Optical flow needs OpenCV: `pip install "stzoo[flow]"`.'
        ) from None
    if method == "dis":
        algorithm = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    elif hasattr(cv2, "optflow"):
        algorithm = cv2.optflow.DualTVL1OpticalFlow_create()
    else:
        raise ImportError(
            "This OpenCV has no TV-L1. Run `pip uninstall opencv-python-headless` and "
            "`pip install opencv-contrib-python-headless`."
        )
    grey = [cv2.cvtColor(np.ascontiguousarray(f), cv2.COLOR_RGB2GRAY) for f in frames]
    try:
        pairs = itertools.pairwise(grey)
        return quantize([algorithm.calc(*pair, None) for pair in pairs])
    except cv2.error as error:
        raise ValueError(
            f"OpenCV cannot compute flow between frames of {frames.shape[1]}x"
            f"{frames.shape[2]} (height x width): {error.err}. DIS needs 12x12 or more."
        ) from None


def quantize(flow):
    """Converts motion in pixels to uint8: clipped to 20, with 128 for no motion.

    Args:
        flow: float array.
    """
    bound = 255 - ZERO
    scaled = np.rint(np.multiply(flow, bound / BOUND, dtype="float32"))
    return (scaled.clip(-bound, bound) + ZERO).astype(np.uint8)


def mirror(clip):
    """Mirrors a clip. Motion to the left becomes motion to the right.

    Args:
        clip: uint8 array `(..., height, width, channels)` of RGB, flow, or both.
    """
    clip = clip[..., ::-1, :].copy()
    if clip.shape[-1] != 3:
        clip[..., -2] = 2 * ZERO - np.maximum(clip[..., -2], 1).astype("int16")
    return clip


class FlowVideo:
    """A video with optical flow from each frame to the next one.

    It has the interface of any video, see `stzoo.data.frames`, and 5 channels: RGB, and
    x, y of the flow. The last frame is dropped, since there is no next one. A video of
    one frame keeps it, with no motion.

    Args:
        video: a video with 3 channels.
        short_side: int, pixels of the shorter side at which flow is computed.
        method: `"dis"` or `"tvl1"`.
    """

    channels = 5

    def __init__(self, video, short_side, method="dis"):
        self.name, self.path, self.seconds = video.name, video.path, video.seconds
        self.video, self.short_side, self.method = video, short_side, method

    def __len__(self):
        return max(len(self.video) - 1, 1)

    def read(self, indices, short_side=None):
        """Reads frames with flow, `(indices, height, width, 5)`, see `Video.read`."""
        wanted, places = np.unique(indices, return_inverse=True)
        frames = self._with_flow(wanted)[places.reshape(-1)]
        return resize(frames, short_side) if short_side else frames

    def _with_flow(self, wanted):
        cache = os.environ.get("STZOO_FLOW_CACHE")
        if len(self.video) == 1:
            frames = self.video.read(wanted, self.short_side)
            flow = np.full((*frames.shape[:-1], 2), ZERO, np.uint8)
        elif cache and self.path:
            frames = self.video.read(wanted, self.short_side)
            flow = _cached(Path(cache), self, wanted)
        else:
            needed = np.union1d(wanted, wanted + 1)
            frames = self.video.read(needed, self.short_side)
            flow = self._between(frames, needed, wanted)
            frames = frames[np.searchsorted(needed, wanted)]
        return np.concatenate([frames, flow], axis=-1)

    def _between(self, frames, needed, wanted):
        """Computes the flow of the wanted frames, for each run of adjacent frames."""
        runs = np.split(needed, np.flatnonzero(np.diff(needed) > 1) + 1)
        places = np.searchsorted(needed, [run[0] for run in runs])
        flow = np.concatenate(
            [
                optical_flow(frames[place : place + len(run)], self.method)
                for place, run in zip(places, runs, strict=True)
            ]
        )
        known = np.concatenate([run[:-1] for run in runs])
        return flow[np.searchsorted(known, wanted)]


def _cached(folder, video, wanted):
    """Reads flow from the cache. If it is missing, computes and writes it first."""
    settings = f"{video.short_side} {video.method} {BOUND} {ZERO}"
    name = f"{_hash(video.path, settings)}.npz"
    for _ in range(2):
        try:
            with (folder / name).open("rb") as f, zipfile.ZipFile(f) as stored:
                members = (stored.read(f"{index}.npy") for index in wanted)
                return np.stack([np.load(io.BytesIO(data)) for data in members])
        except FileNotFoundError:
            pass
        except (zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
            logger.warning("%s is damaged (%s). Rewriting it.", folder / name, error)
        writer.write(folder, {name: _all(video)})
    raise ValueError(
        f"{folder / name} does not contain the {len(video)} flows of {video.path}."
    )


def _all(video):
    """Computes the flow of a whole video, as the bytes of an .npz."""
    data, total = io.BytesIO(), len(video.video)
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for start in range(0, total - 1, CHUNK):
            indices = np.arange(start, min(start + CHUNK + 1, total))
            frames = video.video.read(indices, video.short_side)
            for index, flow in enumerate(optical_flow(frames, video.method), start):
                with archive.open(f"{index}.npy", "w") as member:
                    np.save(member, flow)
    return data.getvalue()


def _hash(path, settings):
    """Hashes the content of a video, a file or a folder of frames, and settings."""
    found = hashlib.sha256(settings.encode())
    names = [path]
    if not files.is_video(path) and (inside := files.listing(path)):
        names = [files.join(path, name) for name in sorted(inside)]
    for name in names:
        found.update(os.fsencode(files.split(name)[1]) if len(names) > 1 else b"")
        with files.open_bytes(name) as file:
            while part := file.read(2**20):
                found.update(part)
    return found.hexdigest()
