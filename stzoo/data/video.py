"""Frames of a video by their index: exact, and no more decoded than needed."""

import bisect
import contextlib
import io
import os

import numpy as np


class Video:
    """The frames of a video file, in the order in which they are shown.

    Opening reads through the file once without decoding it, and notes the time of
    every frame. Reading seeks to the key frame before a wanted frame and decodes from
    there; the frames are those that decoding the whole file would give, whatever
    their spacing in time. The display matrix (phones write one) is applied, an alpha
    channel is dropped, pixels are taken as square. Of several video streams, the one
    FFmpeg holds for the main one is read.

    In a damaged file, a frame that cannot be decoded shows the one before it, as in a
    player. A file cut off at its end has the frames before the cut.

    Each thread needs a `Video` of its own; several of one file do not disturb each
    other.

    Args:
        source: path of a file, or a binary file object, which stays open.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a video, or if no frame of it can be decoded.

    Example:

    ```python
    with Video("dance.mp4") as video:
        frames = video.read(range(0, len(video), 8), short_side=256)
    ```

    Attributes:
        fps: float, average number of frames per second.
        size: tuple of ints `(height, width)` in pixels, as shown.
        decoded: int, frames decoded so far: what opening and reading have cost.
    """

    def __init__(self, source):
        from av.video.reformatter import VideoReformatter

        self.name, self._source = _check_source(source)
        self.decoded = 0
        self._container = None
        self._reformatter = VideoReformatter()
        self._open()
        try:
            self._list_frames()
        except BaseException:
            self.close()
            raise

    def __len__(self):
        return len(self._times)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Closes the file, unless it came as a file object."""
        if self._container is not None:
            self._container.close()
            self._container = None

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
            ValueError: if an index is out of range, or if the video is closed.
        """
        indices = np.asarray(indices, dtype=int).reshape(-1)
        if self._container is None:
            raise ValueError(f"{self.name}: the video is closed. Open it again.")
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
            raise ValueError(
                f"{self.name} has {len(self)} frames, 0 to {len(self) - 1}. "
                f"Received indices from {indices.min()} to {indices.max()}."
            )
        size = scaled_size(self.size, short_side)
        result = np.empty((len(indices), *size, 3), np.uint8)
        wanted = np.unique(indices).tolist()
        for index, frame in self._decode(wanted) if wanted else ():
            result[indices == index] = self._to_rgb(frame, size)
        return result

    def _open(self):
        """Opens the file (again) at its beginning and picks the stream."""
        import av

        if self._container is not None:
            self._container.close()
        if not isinstance(self._source, str):
            self._source.seek(0)
        try:
            self._container = av.open(self._source, metadata_errors="replace")
        except av.FFmpegError as error:
            raise ValueError(
                f"{self.name} cannot be read as a video: {error.strerror}. Either it "
                "is something else, or it is damaged (an .mp4 is also unreadable "
                "where its end is missing): copy or convert it anew."
            ) from error
        streams = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic
        ]
        if not streams or self._container.format.name == "tty":  # tty: text, drawn
            kinds = {stream.type for stream in self._container.streams} - {"video"}
            raise ValueError(
                f"{self.name} has no video in it"
                f"{', only ' * bool(kinds)}{' and '.join(sorted(kinds))}. Pass a file "
                "with a video stream."
            )
        best = self._container.streams.best("video")
        self._stream = best if best in streams else streams[0]
        if self._stream.codec_context is None:
            raise ValueError(
                f"{self.name} holds a video that FFmpeg has no decoder for. Convert "
                "it, to H.264 for instance."
            )

    def _list_frames(self):
        """Notes the packets of the file, decodes the first frame, counts the others."""
        first, packets, cut_off = None, [], False
        for packet in self._packets():
            if first is None:
                first = next(iter(self._frames(packet)), None)
            packets.append(
                (
                    packet.pts,
                    packet.dts,
                    packet.size,
                    packet.is_keyframe,
                    packet.is_discard,
                )
            )
            cut_off = packet.is_corrupt
        if first is None:
            first = next(iter(self._frames(None)), None)
        if first is None:
            raise ValueError(
                f"{self.name}: no frame of its video can be decoded "
                f"({self._stream.codec_context.name}). Copy or convert it anew."
            )
        self._turn = _turn(first)
        self.size = (first.height, first.width)[:: -1 if self._turn[0] else 1]
        if cut_off and len(packets) > 1:
            packets.pop()
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        if self._is_timed(packets, first.pts):
            # A packet outside of the edit list is decoded, but not shown.
            shown = sorted(
                (pts, at)
                for at, (pts, _, _, _, discard) in enumerate(packets)
                if pts >= first.pts and not discard
            )
            self._times, self._positions = zip(*shown, strict=True)
            self._stamps = [packet[:2] for packet in packets]
            self._keys = [at for at, packet in enumerate(packets) if packet[3]]
            # The size tells when times differ after a seek, as they do in .mpg.
            self._numbers = {packet[::2][:2]: at for at, packet in enumerate(packets)}
            span = (self._times[-1] - self._times[0]) * self._stream.time_base
            if span:
                self.fps = float((len(self._times) - 1) / span)
        else:
            self._positions = None
            self._times = range(sum(1 for _ in self._all_frames()))

    def _is_timed(self, packets, first):
        """Whether the times of the packets tell the order of the frames."""
        times = [packet[0] for packet in packets]
        if None in times or len(set(times)) < len(times) or first not in times:
            return False
        # Recordings put end to end may begin anew at an earlier time.
        keys = [packet[0] for packet in packets if packet[3]]
        # Decoded out of order, and yet with times in order: the container has none
        # and they are made up, as for H.264 in .avi.
        made_up = self._stream.codec_context.has_b_frames and times == sorted(times)
        return keys == sorted(keys) and not made_up

    def _packets(self):
        """The packets from here on, up to the end or to where the file is cut off."""
        import av

        with contextlib.suppress(av.FFmpegError):
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet

    def _frames(self, packet):
        """What the decoder gives for a packet, or for `None` at the end."""
        import av

        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:  # a damaged packet shows nothing
            frames = []
        self.decoded += len(frames)
        return frames

    def _all_frames(self):
        """Every frame from the beginning."""
        self._open()
        for packet in self._packets():
            yield from self._frames(packet)
        yield from self._frames(None)

    def _decode(self, wanted):
        """Yields `(index, frame)` for all indices in the sorted list `wanted`."""
        missing = list(wanted)
        if self._positions is not None:
            for start, last, indices in self._runs(wanted):
                for frame in self._run(start, last, indices):
                    if frame.pts in indices:
                        index = indices.pop(frame.pts)
                        missing.remove(index)
                        yield index, frame
        # Without times, or where something is damaged: play the file from its start.
        before = None
        for count, frame in enumerate(self._all_frames() if missing else ()):
            time = count if self._positions is None else frame.pts
            while missing and self._times[missing[0]] < time:
                yield missing.pop(0), frame if before is None else before
            if missing and self._times[missing[0]] == time:
                yield missing.pop(0), frame
            if not missing:
                break
            before = frame
        for index in missing:
            yield index, before

    def _runs(self, wanted):
        """Stretches of packets to decode: `[first, last, {time: index}]`."""
        runs = []
        for index in wanted:
            time = self._times[index]
            last = self._positions[index]
            keys = self._keys[: bisect.bisect(self._keys, last)]
            # What follows a key frame but is shown before it needs an older one.
            start = next((k for k in reversed(keys) if self._stamps[k][0] <= time), 0)
            if runs and start <= runs[-1][1] + 1:
                runs[-1][1] = max(last, runs[-1][1])
            else:
                runs.append([start, last, {}])
            runs[-1][2][time] = index
        return runs

    def _run(self, start, last, wanted):
        """Yields the frames of the packets from number `start` to number `last`."""
        import av

        for stamp in self._stamps[start]:  # some containers seek by pts, others by dts
            if stamp is None:
                continue
            with contextlib.suppress(av.FFmpegError):
                self._container.seek(stamp, stream=self._stream)
            started = False
            for packet in self._packets():
                number = self._numbers.get((packet.pts, packet.size), -1)
                if not started and number > start:  # landed too late
                    break
                started = started or number == start
                if not started:
                    continue
                # Frames that no other frame refers to are decoded if they are wanted.
                self._stream.codec_context.skip_frame = (
                    "DEFAULT" if packet.pts in wanted else "NONREF"
                )
                yield from self._frames(packet)
                if number == last:
                    yield from self._frames(None)
                    return

    def _to_rgb(self, frame, size):
        """Colour, size and orientation of a frame as uint8 (height, width, 3)."""
        from av.video.reformatter import Interpolation

        transposed, flip_rows, flip_columns = self._turn
        height, width = size[::-1] if transposed else size
        # Full chroma: without it, an even width loses half of the colour's resolution
        # and 3 grey levels of 255.
        interpolation = Interpolation.BILINEAR
        if (height, width) != (frame.height, frame.width):
            interpolation |= Interpolation.FULL_CHR_H_INT
        rgb = self._reformatter.reformat(
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
        ValueError: if `short_side` is not a whole number from 1.
    """
    if short_side is None:
        return tuple(size)
    if short_side < 1 or short_side != int(short_side):
        raise ValueError(
            f"short_side must be a whole number from 1, got {short_side!r}."
        )
    shorter = min(size)
    return tuple(
        (2 * side * int(short_side) + shorter) // (2 * shorter) for side in size
    )


def _turn(frame):
    """How to turn a frame upright: transposed, rows flipped, columns flipped."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    # A pixel (p, q) is shown at (a p + c q, b p + d q); libavutil/display.h.
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _check_source(source):
    """The name of a source, and what FFmpeg can open and seek in."""
    if hasattr(source, "read"):
        name = f"The file object {getattr(source, 'name', '') or type(source).__name__}"
        if isinstance(source, io.TextIOBase):
            raise ValueError(f'{name} reads text. Open the file with mode "rb".')
        if not (hasattr(source, "seekable") and source.seekable()):
            source = io.BytesIO(source.read())
        if not source.seek(0, os.SEEK_END):
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
