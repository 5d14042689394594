"""Opening what a path says: a file or a URL, decoded by one of several libraries, or a
folder of frames."""

import contextlib
import os

from stzoo.data import files
from stzoo.data.frames import Frames
from stzoo.data.video import Video

DECODERS = ("av",)


@contextlib.contextmanager
def open_video(path, decoder="av"):
    """Opens a video, for a `with` block.

    Args:
        path: path or URL of a video file or of a folder of frames.
        decoder: string, `"av"`.

    Yields:
        An object that has a length, `size`, and `read(indices, short_side=None)`, as
        `stzoo.data.video.Video`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a video that can be read.
    """
    path = os.fspath(path)
    if decoder not in DECODERS:
        raise ValueError(f"decoder={decoder!r} is none of: {', '.join(DECODERS)}.")
    if not files.is_video(path) and files.listing(path):
        yield Frames(path)
    elif files.remote(path):
        with files.open_bytes(path) as file, Video(file) as video:
            yield video
    else:
        with Video(path) as video:
            yield video
