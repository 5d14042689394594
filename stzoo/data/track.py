"""The video stream of a file: in which order its frames are shown, and decoding them.

A file has packets in the order in which they are decoded; frames are shown in the order
of their times, which is another where there are B-frames. Once a `Track` has noted the
packets it can decode a frame from the key frame before it, if the times are reliable:
some containers have none, and some make them up. Then, and where something is damaged,
it decodes the file from its beginning.
"""

import bisect
import contextlib
from collections import namedtuple

Packet = namedtuple("Packet", "pts dts size is_keyframe is_discard")


class Track:
    """The main video stream of a file, opened once; to be used by one thread.

    Args:
        source: string, what FFmpeg is to open, or a binary file object.
        name: string, what to call it in errors.
        listed: another `Track` of the same file, which knows its order already.

    Raises:
        ValueError: if it is not a video, or if no frame of it can be decoded.

    Attributes:
        times: sequence of ints, the time of each frame in the order of showing.
        fps: float, average number of frames per second.
        first: `av.VideoFrame`, the first frame.
        decoded: int, frames decoded so far.
    """

    def __init__(self, source, name, listed=None):
        self._source, self._name = source, name
        self._container = None
        self.decoded = 0
        try:
            self._open()
            if listed is None:
                self._list_packets()
            else:
                self.times, self._positions = listed.times, listed._positions
                self._listed, self._keys = listed._listed, listed._keys
                self._numbers = listed._numbers
        except BaseException:
            self.close()
            raise

    def close(self):
        if self._container is not None:
            self._container.close()
        self._container = None

    def frames(self, wanted):
        """Yields `(index, frame)` for all indices in the sorted list `wanted`."""
        missing = list(wanted)
        for start, last, indices in self.runs(wanted):
            for frame in self._run(start, last, indices):
                if frame.pts in indices:
                    missing.remove(indices[frame.pts])
                    yield indices.pop(frame.pts), frame
        before = None
        for count, frame in enumerate(self._all_frames() if missing else ()):
            time = count if self._positions is None else frame.pts
            while missing and self.times[missing[0]] < time:
                yield missing.pop(0), frame if before is None else before
            if missing and self.times[missing[0]] == time:
                yield missing.pop(0), frame
            if not missing:
                break
            before = frame
        for index in missing:
            yield index, before

    def runs(self, wanted):
        """What to decode: `[first packet, last packet, {time: index}]`, in order."""
        runs = []
        for index in wanted if self._positions is not None else ():
            time, last = self.times[index], self._positions[index]
            # What follows a key frame but is shown before it needs an older one.
            at = bisect.bisect(self._keys, last) - 1
            while at >= 0 and self._listed[self._keys[at]].pts > time:
                at -= 1
            start = self._keys[at] if at >= 0 else 0
            if runs and start <= runs[-1][1] + 1:
                runs[-1][1] = max(last, runs[-1][1])
            else:
                runs.append([start, last, {}])
            runs[-1][2][time] = index
        return runs

    def _run(self, start, last, wanted):
        """Yields the frames of the packets from number `start` to number `last`."""
        import av

        # Some containers seek by the time of showing, others by that of decoding.
        for stamp in (self._listed[start].pts, self._listed[start].dts):
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
                # A frame that no other refers to is left out if it is not wanted. It
                # saves a third of the frames and a quarter of the time (H.264 as x264
                # makes it, ten clips of 8 x 8 frames, 1280x720: 324 to 243 ms).
                self._stream.codec_context.skip_frame = (
                    "DEFAULT" if packet.pts in wanted else "NONREF"
                )
                yield from self._decode(packet)
                if number == last:
                    yield from self._decode(None)
                    return

    def _all_frames(self):
        """Every frame from the beginning."""
        self._open()
        for packet in self._packets():
            yield from self._decode(packet)
        yield from self._decode(None)

    def _packets(self):
        """The packets from here on, up to the end or to where the file is cut off."""
        import av

        with contextlib.suppress(av.FFmpegError):
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet

    def _decode(self, packet):
        """What the decoder gives for a packet, or for `None` at the end."""
        import av

        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:  # a damaged packet shows nothing
            frames = []
        self.decoded += len(frames)
        return frames

    def _open(self):
        """Opens the file (again) at its beginning and picks the stream."""
        import av

        self.close()
        if not isinstance(self._source, str):
            self._source.seek(0)
        try:
            self._container = av.open(self._source, metadata_errors="replace")
        except av.FFmpegError as error:
            raise ValueError(
                f"{self._name} cannot be read as a video: {error.strerror}. Either it "
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
            only = f", only {' and '.join(sorted(kinds))}" if kinds else ""
            raise ValueError(
                f"{self._name} has no video in it{only}. Pass a file with a video "
                "stream."
            )
        best = self._container.streams.best("video")
        self._stream = best if best in streams else streams[0]
        if self._stream.codec_context is None:
            raise ValueError(
                f"{self._name} holds a video that FFmpeg has no decoder for. Convert "
                "it, to H.264 for instance."
            )

    def _list_packets(self):
        """Decodes the first frame, and finds the order of all from their packets."""
        self.first, packets, cut_off = None, [], False
        for packet in self._packets():
            if self.first is None:
                self.first = next(iter(self._decode(packet)), None)
            packets.append(Packet(*(getattr(packet, key) for key in Packet._fields)))
            cut_off = packet.is_corrupt
        if self.first is None:
            self.first = next(iter(self._decode(None)), None)
        if self.first is None:
            raise ValueError(
                f"{self._name}: no frame of its video can be decoded "
                f"({self._stream.codec_context.name}). Copy or convert it anew."
            )
        if cut_off and len(packets) > 1:
            packets.pop()
        self._listed = packets
        self._keys = [at for at, packet in enumerate(packets) if packet.is_keyframe]
        # Of two packets that have the same time before and after a seek, as happens in
        # .mpg, the size tells which is which.
        self._numbers = {
            (packet.pts, packet.size): at for at, packet in enumerate(packets)
        }
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        if self._is_timed():
            # What stands outside of the edit list is decoded, but not shown.
            shown = sorted(
                (packet.pts, at)
                for at, packet in enumerate(packets)
                if packet.pts >= self.first.pts and not packet.is_discard
            )
            self.times, self._positions = zip(*shown, strict=True)
            span = (self.times[-1] - self.times[0]) * self._stream.time_base
            if span:
                self.fps = float((len(shown) - 1) / span)
        else:
            self._positions = None
            self.times = range(sum(1 for _ in self._all_frames()))

    def _is_timed(self):
        """Whether the times of the packets tell the order of the frames."""
        times = [packet.pts for packet in self._listed]
        if None in times or len(set(times)) < len(times) or self.first.pts not in times:
            return False
        # Recordings put end to end may begin anew at an earlier time.
        keys = [times[at] for at in self._keys]
        # Decoded out of order, and yet with times in order: the container has none
        # and they are made up, as for H.264 in .avi.
        made_up = self._stream.codec_context.has_b_frames and times == sorted(times)
        return keys == sorted(keys) and not made_up
