"""Optical flow: how far what is seen has moved, from one frame to the next.

As the two-stream line feeds it to networks (Simonyan, Zisserman: Two-Stream
Convolutional Networks for Action Recognition in Videos. NIPS 2014; Wang et al.:
Temporal Segment Networks. ECCV 2016): x to the right and y down, in pixels, bounded to
20, as uint8 with 128 for no motion. A step is 20 / 127 of a pixel (there 40 / 255), so
that a mirrored x is exactly 256 - x. Pixels are those of frames resized to
`ClipConfig.short_side`; where training resizes further, flow is resized as pictures
are.

The algorithm is DIS (Kroeger, Timofte, Dai, Van Gool: Fast Optical Flow using Dense
Inverse Search. ECCV 2016) of OpenCV, with its default preset: the extra `flow` of
stzoo. TV-L1, which the two-stream line used, is not among OpenCV's main modules; with
`opencv-contrib-python-headless` in place of `opencv-python-headless`, it is there too.

Where the environment variable `STZOO_FLOW_CACHE` names a folder, the flow of a file is
kept there: all of it is computed when a part of it is first asked for. Each video has a
file, named by the hash of what is in the video, the size of frames and the algorithm,
and written whole or not at all.
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
BOUND, ZERO = 20, 128  # pixels; what stands for no motion
CHUNK = 64  # frames in memory at a time


def optical_flow(frames, method="dis"):
    """The flow from each frame to the next.

    Args:
        frames: uint8 array `(frames, height, width, 3)`, RGB.
        method: `"dis"`, or `"tvl1"` (needs the contributed modules of OpenCV).

    Returns:
        uint8 array `(frames - 1, height, width, 2)`.

    Raises:
        ImportError: OpenCV is not there, or not with TV-L1.
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
            "This OpenCV has no TV-L1: `pip uninstall opencv-python-headless` and "
            "`pip install opencv-contrib-python-headless`."
        )
    grey = [cv2.cvtColor(np.ascontiguousarray(f), cv2.COLOR_RGB2GRAY) for f in frames]
    try:
        pairs = itertools.pairwise(grey)
        return quantize([algorithm.calc(*pair, None) for pair in pairs])
    except cv2.error as error:
        raise ValueError(
            f"OpenCV finds no flow between frames of {frames.shape[1]}x"
            f"{frames.shape[2]} (height x width): {error.err}. DIS needs 12x12."
        ) from None


def quantize(flow):
    """Motion in pixels as uint8: bounded to 20, 128 for none.

    Args:
        flow: float array.
    """
    bound = 255 - ZERO
    scaled = np.rint(np.multiply(flow, bound / BOUND, dtype="float32"))
    return (scaled.clip(-bound, bound) + ZERO).astype(np.uint8)


def mirror(clip):
    """A clip seen in a mirror: what moved to the left moves to the right.

    Args:
        clip: uint8 array `(..., height, width, channels)`, of RGB, of flow, or both.
    """
    clip = clip[..., ::-1, :].copy()
    if clip.shape[-1] != 3:
        clip[..., -2] = 2 * ZERO - np.maximum(clip[..., -2], 1).astype("int16")
    return clip


class FlowVideo:
    """A video with optical flow from each frame to the next one.

    It is read as any video, see `stzoo.data.frames`, and has 5 channels: RGB, and x, y
    of the flow. The last frame has no next one, so it is left out; a video of one frame
    keeps it, and shows no motion.

    Args:
        video: a video of 3 channels.
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
        """Frames with flow, `(indices, height, width, 5)`, see `Video.read`."""
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
        """The flow of the frames that are wanted, run by run."""
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
    """Flow out of the cache, into which it is put if it is not there."""
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
            logger.warning("%s is damaged (%s): written anew.", folder / name, error)
        writer.write(folder, {name: _all(video)})
    raise ValueError(
        f"{folder / name} does not hold the {len(video)} flows of {video.path}."
    )


def _all(video):
    """The flow of a whole video, as the bytes of an .npz."""
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
    """The hash of what is in a video, a file or a folder of frames, and of settings."""
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
