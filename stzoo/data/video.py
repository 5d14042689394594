"""Reads frames of a video file by their index, decoding only what is needed."""

import contextlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np

from stzoo.data.track import Track

SWS_BILINEAR, SWS_FULL_CHR_H_INT = 2, 1 << 13  # libswscale/swscale.h
LONGEST = 2**14  # pixels of the longer side to which a frame may be enlarged
SIDE_DATA = 64  # more than the kinds of side data in FFmpeg


class Video:
    """The frames of a video file, in presentation order.

    The frames are those of a complete decode, in its order, regardless of their
    timestamps. Opening an .mp4, .mov, .mkv or .webm reads the file without decoding it,
    and reading seeks to the key frame before a requested frame. Seeking is not reliable
    in other containers (.avi, .mpg, .ts, .wmv): opening decodes the whole file to count
    its frames, and reading decodes it in order. Convert large files of these kinds, for
    example to .mp4.

    The display matrix (which phones write) is applied, an alpha channel is dropped, and
    pixels are assumed to be square. If there are several video streams, the one that
    FFmpeg considers best is read.

    In a damaged file, a frame that cannot be decoded is replaced by the one before it,
    as in a player. A truncated file has the frames before the cut.

    A `Video` must not be shared between threads. Several threads can each open the same
    file.

    Args:
        source: path of a file, or a binary file object, which stays open.
        name: string, the name in error messages. Defaults to the path.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a video, no frame can be decoded, or its frames have
            more than 2^27 pixels.

    Example:

    ```python
    from stzoo.data.video import Video

    with Video("dance.mp4") as video:
        frames = video.read(range(0, len(video), 8), short_side=256)
    ```

    Attributes:
        fps: float, average number of frames per second.
        seconds: float array, the time of each frame after the first one, or `None` if
            the file has no times.
        size: tuple of ints `(height, width)` in pixels, after rotation.
        decoded: int, number of frames decoded so far, by opening and reading.
        path: string, path of the file, or `None` for a file object.
        channels: int, 3.
    """

    channels = 3

    def __init__(self, source, name=None):
        known, self._source = check_source(source)
        self.path = known if isinstance(self._source, str) else None
        self.name = name or known
        with errors_named(self.name):
            self._tracks = [Track(self._source, self.name)]
            first, self.fps = self._tracks[0].first, self._tracks[0].fps
            self.seconds = self._tracks[0].seconds
            self._length = len(self._tracks[0].times)
            self._turn = turn_of(first)
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
        """Closes the file, unless it was given as a file object."""
        for track in self._tracks:
            track.close()
        self._tracks = []

    def read(self, indices, short_side=None):
        """Decodes frames.

        Args:
            indices: sequence of ints from 0 to `len(video) - 1`, in any order, possibly
                repeated.
            short_side: int, pixels of the shorter side to which frames are resized (see
                `scaled_size`), bilinear and antialiased. `None` keeps the size.

        Returns:
            uint8 array `(len(indices), height, width, 3)`, RGB.

        Raises:
            ValueError: an index is out of range, the video is closed or can no longer
                be read, or the resized frames are too large.
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
            reformatter = VideoReformatter()  # reused for equal frames
            for index, frame in track.frames(part):
                result[indices == index] = to_rgb(reformatter, frame, self._turn, size)

        parts = self._parts(np.unique(indices).tolist())
        while len(self._tracks) < len(parts):
            self._tracks.append(Track(self._source, self.name, self._tracks[0]))
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(fill, self._tracks, parts))
        return result

    def _parts(self, wanted):
        """Returns the wanted indices, sorted and unique, in a list for each thread."""
        # Ten clips of 8 frames from 10 s of H.264, two cores, 320x240 / 1280x720 to a
        # short side of 256: 46 / 250 ms in one thread, 32 / 170 in two that have each
        # opened the file. Decoder threads: by slices 46 / 244 (x264 makes one slice of
        # a frame), by frames 49 / 219 (they restart after each seek). One clip takes
        # the same time in all. So a second thread is used only for enough packets.
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


def scaled_size(size, short_side):
    """Computes the size of a frame after resizing its shorter side, rounded as in mmcv.

    Args:
        size: tuple of ints `(height, width)`.
        short_side: int, pixels of the shorter side, or `None` to keep the size.

    Returns:
        Tuple of ints `(height, width)`, with the same aspect ratio up to rounding.

    Raises:
        ValueError: `short_side` is not an integer of at least 1, or the longer side
            would be enlarged to more than 16384 pixels.
    """
    if short_side is None:
        return tuple(size)
    if short_side < 1 or short_side != int(short_side):
        raise ValueError(
            f"short_side must be an integer, at least 1. Received: {short_side!r}."
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
            f"have up to {LONGEST} pixels. Choose a smaller short_side."
        )
    return height, width


@contextlib.contextmanager
def errors_named(name, kind="a video"):
    """Context manager that turns errors into a `ValueError` with the name of a video.

    Other errors are not changed: a missing file, a library that is not installed, and
    lack of memory.

    Args:
        name: string, path or URL of the video, or `None` to leave errors unchanged.
        kind: string, what the file cannot be read as.
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


def to_rgb(reformatter, frame, turn, size):
    """Converts a frame to uint8 (height, width, 3), resized and upright."""
    transposed, flip_rows, flip_columns = turn
    height, width = size[::-1] if transposed else size
    # One pass converts colour and size, so that no 720p frame is held as RGB.
    # Without SWS_FULL_CHR_H_INT, two pixels share their colour, up to 3 of 255
    # darker on average. Frames that keep their size use the default of PyAV.
    same = (height, width) == (frame.height, frame.width)
    interpolation = SWS_BILINEAR if same else SWS_BILINEAR | SWS_FULL_CHR_H_INT
    rgb = reformatter.reformat(
        frame, width, height, "rgb24", interpolation=interpolation
    ).to_ndarray()
    if transposed:
        rgb = rgb.swapaxes(0, 1)
    return rgb[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def turn_of(frame):
    """Returns how to turn a frame upright: transpose, flip rows, flip columns."""
    matrix = _side_data(frame).get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    # A pixel (p, q) is shown at (a p + c q, b p + d q); libavutil/display.h.
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _side_data(frame):
    """Returns the side data of a frame, without kinds that PyAV does not know."""
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


def check_source(source):
    """Returns the name of a source, and a form of it that FFmpeg can open."""
    if hasattr(source, "read"):
        name = f"The file object {getattr(source, 'name', '') or type(source).__name__}"
        if isinstance(source, io.TextIOBase):
            raise ValueError(f'{name} reads text. Open the file with mode "rb".')
        if not (hasattr(source, "seekable") and source.seekable()):
            source = io.BytesIO(source.read())
        source.seek(0, os.SEEK_END)
        if not source.tell():
            raise ValueError(f"{name} is empty. Pass a file with a video.")
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
        raise ValueError(f"{name} is empty (0 bytes). Copy it again.")
    # Without the prefix, FFmpeg parses a colon in the name as a protocol.
    return name, f"file:{name}"
