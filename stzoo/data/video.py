"""Frames of a video by their index: exact, and no more decoded than needed."""

import contextlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np

from stzoo.data.track import Track

SWS_BILINEAR, SWS_FULL_CHR_H_INT = 2, 1 << 13  # libswscale/swscale.h
LONGEST = 2**14  # pixels of the longer side to which a frame may be enlarged
SIDE_DATA = 64  # kinds of side data that FFmpeg may have one day


class Video:
    """The frames of a video file, in the order in which they are shown.

    The frames are those of a complete decode, in its order, whatever their spacing in
    time. Opening an .mp4, .mov, .mkv or .webm reads through the file without decoding
    it, and reading seeks to the key frame before a wanted frame. Other containers
    cannot be trusted to seek (.avi, .mpg, .ts, .wmv): opening decodes the whole file,
    to count its frames, and reading decodes it in order. Convert large files of these
    kinds, to .mp4 for instance.

    The display matrix (phones write one) is applied, an alpha
    channel is dropped, pixels are taken as square. Of several video streams, the one
    FFmpeg holds for the main one is read.

    In a damaged file, a frame that cannot be decoded shows the one before it, as in a
    player. A file cut off at its end has the frames before the cut.

    Each thread needs a `Video` of its own; several of one file do not disturb each
    other.

    Args:
        source: path of a file, or a binary file object, which stays open.
        name: string, what errors call it. Default: the path.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a video, if no frame of it can be decoded, or if its
            frames have more than 2^27 pixels.

    Example:

    ```python
    from stzoo.data.video import Video

    with Video("dance.mp4") as video:
        frames = video.read(range(0, len(video), 8), short_side=256)
    ```

    Attributes:
        fps: float, average number of frames per second.
        seconds: float array, when each frame is shown, counted from the first one, or
            `None` where the file does not tell.
        size: tuple of ints `(height, width)` in pixels, as shown.
        decoded: int, frames decoded so far: what opening and reading have cost.
        path: string, where the file is, or `None` for a file object.
        channels: int, 3.
    """

    channels = 3

    def __init__(self, source, name=None):
        known, self._source = _check_source(source)
        self.path = known if isinstance(self._source, str) else None
        self.name = name or known
        with errors_named(self.name):
            self._tracks = [Track(self._source, self.name)]
            first, self.fps = self._tracks[0].first, self._tracks[0].fps
            self.seconds = self._tracks[0].seconds
            self._length = len(self._tracks[0].times)
            self._turn = _turn(first)
        self.size = (first.height, first.width)[:: -1 if self._turn[0] else 1]

    def __len__(self):
        return self._length

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    @property
    def decoded(self):
        return sum(track.decoded for track in self._tracks)

    def close(self):
        """Closes the file, unless it came as a file object."""
        for track in self._tracks:
            track.close()
        self._tracks = []

    def read(self, indices, short_side=None):
        """Decodes the frames that are asked for.

        Args:
            indices: sequence of ints from 0 to `len(video) - 1`, in any order, also
                more than once.
            short_side: int, the frames are resized until their shorter side has this
                many pixels (see `scaled_size`), bilinear and antialiased. `None`:
                as they are.

        Returns:
            uint8 array `(len(indices), height, width, 3)`, RGB.

        Raises:
            ValueError: if an index is out of range, if the video is closed or cannot
                be read any more, or if the resized frames are too large.
        """
        with errors_named(self.name):
            return self._read(indices, short_side)

    def _read(self, indices, short_side):
        from av.video.reformatter import VideoReformatter

        indices = np.asarray(indices, dtype=int).reshape(-1)
        if not self._tracks:
            raise ValueError(f"{self.name}: the video is closed. Open it again.")
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
            raise ValueError(
                f"{self.name} has {len(self)} frames, 0 to {len(self) - 1}. "
                f"Received indices from {indices.min()} to {indices.max()}."
            )
        size = scaled_size(self.size, short_side)
        result = np.empty((len(indices), *size, 3), np.uint8)

        def fill(track, part):
            reformatter = VideoReformatter()  # prepared once for frames alike
            for index, frame in track.frames(part):
                result[indices == index] = self._to_rgb(reformatter, frame, size)

        parts = self._parts(np.unique(indices).tolist())
        while len(self._tracks) < len(parts):
            self._tracks.append(Track(self._source, self.name, self._tracks[0]))
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(fill, self._tracks, parts))
        return result

    def _parts(self, wanted):
        """The wanted indices, sorted and unique, in a list for each thread."""
        # Ten clips of 8 frames from 10 s of H.264, two cores, 320x240 / 1280x720 to a
        # short side of 256: 46 / 250 ms in one thread, 32 / 170 in two that have opened
        # the file for themselves. Decoder threads: by slices 46 / 244 (x264 makes one
        # slice of a frame), by frames 49 / 219 (they begin anew after each seek). One
        # clip is the same in all. So a thread must have enough packets to be worth it.
        # A file object cannot be opened twice.
        runs = self._tracks[0].runs(wanted)
        total = sum(last - start + 1 for start, last, _ in runs)
        count = min(len(runs), total // 100, os.cpu_count() or 1, 4)
        if count < 2 or not isinstance(self._source, str):
            return [wanted]
        parts, before = [[] for _ in range(count)], 0
        for start, last, indices in runs:
            parts[before * count // total] += indices.values()
            before += last - start + 1
        return [part for part in parts if part]

    def _to_rgb(self, reformatter, frame, size):
        """Colour, size and orientation of a frame as uint8 (height, width, 3)."""
        transposed, flip_rows, flip_columns = self._turn
        height, width = size[::-1] if transposed else size
        # One pass for colour and size: a frame of 720p never stands in memory as RGB.
        # SWS_FULL_CHR_H_INT, since two pixels would share their colour otherwise, up to
        # 3 of 255 darker on average. What keeps its size is left to PyAV's default.
        same = (height, width) == (frame.height, frame.width)
        interpolation = SWS_BILINEAR if same else SWS_BILINEAR | SWS_FULL_CHR_H_INT
        rgb = reformatter.reformat(
            frame, width, height, "rgb24", interpolation=interpolation
        ).to_ndarray()
        if transposed:
            rgb = rgb.swapaxes(0, 1)
        return rgb[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def scaled_size(size, short_side):
    """The size of a frame whose shorter side is resized, rounded as in mmcv.

    Args:
        size: tuple of ints `(height, width)`.
        short_side: int, pixels of the shorter side, or `None` to change nothing.

    Returns:
        Tuple of ints `(height, width)`, of the same shape up to rounding.

    Raises:
        ValueError: if `short_side` is not a whole number from 1, or if the longer side
            is enlarged to more than 16384 pixels.
    """
    if short_side is None:
        return tuple(size)
    if short_side < 1 or short_side != int(short_side):
        raise ValueError(
            f"short_side must be a whole number from 1, got {short_side!r}."
        )
    shorter = min(size)
    if shorter < 1:
        raise ValueError(f"Frames of {size[0]}x{size[1]} (height x width) are empty.")
    height, width = (
        (2 * side * int(short_side) + shorter) // (2 * shorter) for side in size
    )
    if max(height, width) > max(LONGEST, *size):
        raise ValueError(
            f"Frames of {size[0]}x{size[1]} (height x width) cannot be resized to a "
            f"shorter side of {short_side}: they would be {height}x{width}. A side can "
            f"grow to {LONGEST} pixels. Choose a smaller short_side."
        )
    return height, width


@contextlib.contextmanager
def errors_named(name, kind="a video"):
    """Turns every error while a video is read into a `ValueError` that names it.

    What is not the video's fault stays as it is: no such file, a library that is not
    installed, and memory that is used up.

    Args:
        name: string, path or URL of the video, or `None`: errors stay as they are.
        kind: string, what it cannot be read as.
    """
    import av

    if name is None:
        yield
        return
    try:
        yield
    except av.FFmpegError as error:
        raise ValueError(f"{name} cannot be read as {kind}: {error}") from error
    except (FileNotFoundError, ImportError, MemoryError):
        raise
    except ValueError as error:
        if name in str(error):
            raise
        raise ValueError(f"{name}: {error}") from error
    except Exception as error:
        raise ValueError(
            f"{name} cannot be read as {kind}: {type(error).__name__}: {error}"
        ) from error


def _turn(frame):
    """How to turn a frame upright: transposed, rows flipped, columns flipped."""
    matrix = _side_data(frame).get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    # A pixel (p, q) is shown at (a p + c q, b p + d q); libavutil/display.h.
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _side_data(frame):
    """The side data of a frame, without kinds that PyAV does not know."""
    import av
    from av.sidedata.sidedata import Type

    with contextlib.suppress(ValueError):
        return frame.side_data
    known = {kind.value for kind in Type}
    graph = av.filter.Graph()
    nodes = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1, 1),
        )
    ]
    for kind in sorted(set(range(SIDE_DATA)) - known):
        nodes.append(graph.add("sidedata", f"mode=delete:type={kind}"))
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    graph.vpush(frame)
    return graph.vpull().side_data


def _check_source(source):
    """The name of a source, and what FFmpeg can open and seek in."""
    if hasattr(source, "read"):
        name = f"The file object {getattr(source, 'name', '') or type(source).__name__}"
        if isinstance(source, io.TextIOBase):
            raise ValueError(f'{name} reads text. Open the file with mode "rb".')
        if not (hasattr(source, "seekable") and source.seekable()):
            source = io.BytesIO(source.read())
        source.seek(0, os.SEEK_END)
        if not source.tell():
            raise ValueError(f"{name} is empty: there is no video in it.")
        return name, source
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(
            "A video must be a path or a file object opened for reading bytes. "
            f"Received: {source!r}."
        )
    name = os.fsdecode(source)
    if os.path.isdir(name):
        raise ValueError(f"{name} is a folder. Pass one of the videos in it.")
    if not os.path.exists(name):
        raise FileNotFoundError(f"There is no file {name}. Check the path.")
    if not os.path.getsize(name):
        raise ValueError(f"{name} is empty (0 bytes). Copy it anew.")
    # Without the prefix, a colon in the name would be read as a protocol.
    return name, f"file:{name}"
