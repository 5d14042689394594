"""The video stream of a file: the order of its frames, and decoding them.

A file has packets in decoding order. Frames are shown in the order of their timestamps,
which differs if there are B-frames. A `Track` lists the packets and decodes a frame
from the key frame before it, if the result is known to be that of a complete decode: in
.mp4, .mov, .mkv and .webm, with a codec whose key frames can be checked, and with
timestamps that agree with the decoder. Many other containers have invented timestamps
or lack key frames (.avi, .mpg, .ts, .wmv, raw streams). They are decoded once when they
are opened, to count the frames, and are always decoded in order. Damaged files are also
decoded in order, from their beginning.
"""

import bisect
import contextlib
import itertools
from collections import namedtuple

import numpy as np

from stzoo.data import bitstream, containers

Packet = namedtuple("Packet", "pts dts size is_keyframe is_hidden")
CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
KEPT = 2**26  # bytes of decoded frames kept while a file is decoded in order
LATE = 16  # frames by which the H.264 decoder can delay its output
SEARCHED = 1000  # packets that can precede the first shown frame


class Track:
    """The main video stream of a file. Only one thread may use it.

    Args:
        source: string that FFmpeg can open, or a binary file object.
        name: string, the name in error messages.
        listed: another `Track` of the same file, whose list of frames is reused.

    Raises:
        ValueError: the file is not a video, or no frame can be decoded.

    Attributes:
        times: sequence of ints, the timestamp of each frame in presentation order, or
            the indices of the frames if the file has no timestamps.
        fps: float, average number of frames per second.
        first: `av.VideoFrame`, the first frame.
        decoded: int, frames decoded so far.
    """

    def __init__(self, source, name, listed=None):
        self._source, self._name = source, name
        self._container = None
        self._positions = None  # of the frames among the packets, if reliable
        self._ahead, self._passed, self._kept, self._is_whole = None, 0, {}, True
        self.decoded = 0
        try:
            self._open()
            if listed is not None:
                # Decode the first packets even before a seek: x264 writes its version
                # there, which FFmpeg needs to decode 4:4:4.
                self._begin()
                self.times, self._positions = listed.times, listed._positions
                self._listed, self._keys = listed._listed, listed._keys
                self._numbers = listed._numbers
            elif not self._list_packets():
                self._count_frames()
        except BaseException:
            self.close()
            raise

    @property
    def seconds(self):
        """The time of each frame after the first one in seconds, or `None`."""
        if isinstance(self.times, range):  # the file has no timestamps
            return np.arange(len(self.times)) / self.fps if self.fps else None
        times = np.array(self.times, float) - self.times[0]
        return times * float(self._stream.time_base)

    def close(self):
        if self._container is not None:
            self._container.close()
        self._container = None
        self._ahead, self._kept = None, {}

    def frames(self, wanted):
        """Yields `(index, frame)` for all indices in the sorted list `wanted`."""
        missing, runs = list(wanted), self.runs(wanted)
        for start, last, indices in runs:
            if self._positions is None:  # the run was wrong
                break
            for frame in self._run(start, last, indices):
                missing.remove(indices[frame.pts])
                yield indices.pop(frame.pts), frame
        if not missing:
            return
        if self._positions is None:
            yield from self._by_number(missing)
        else:
            yield from self._by_time(missing)

    def runs(self, wanted):
        """Lists what to decode: `[first packet, last packet, {time: index}]`."""
        runs = []
        for index in wanted if self._positions is not None else ():
            time, last = self.times[index], self._positions[index]
            # Frames that follow a key frame but are shown before it need an older one.
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
        """Yields wanted frames of the packets from number `start` to number `last`.

        It stops early where they may differ from those of a complete decode.
        """
        held = None  # until the next frame confirms the order
        for frame in self._decode_from(start, last, wanted):
            # Error concealment can use frames before the key frame.
            if frame.is_corrupt or frame.pts is None:
                return
            if held is not None and frame.pts <= held.pts:
                self._positions = None
                return
            if held is not None and held.pts in wanted:
                yield held
            held = frame
        if held is not None and held.pts in wanted:
            yield held

    def _decode_from(self, start, last, wanted):
        """Yields the frames of some packets, except some that are not wanted."""
        import av

        # Some containers seek by presentation time, others by decoding time.
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
                # Unwanted frames that no other frame refers to are skipped. This saves
                # a third of the frames and a quarter of the time (H.264 from x264, ten
                # clips of 8 x 8 frames, 1280x720: 324 to 243 ms).
                self._stream.codec_context.skip_frame = (
                    "DEFAULT" if packet.pts in wanted else "NONREF"
                )
                yield from self._decode(packet)
                if number == last:
                    yield from self._decode(None)
                    return

    def _by_time(self, missing):
        """Yields frames of a complete decode. The one before replaces a missing one."""
        times = {self.times[index]: index for index in missing}
        before, instead, late = None, {}, 0
        for frame in self._all_frames():
            if frame.pts is None:
                continue
            if frame.pts in times:
                index = times.pop(frame.pts)
                instead.pop(index, None)
                yield index, frame
            for time, index in times.items():
                if time > frame.pts:
                    break
                instead.setdefault(index, before or frame)
            # In a damaged file, frames can also be shown too early or too late.
            late = late + 1 if len(instead) == len(times) else 0
            if not times or late > LATE:
                break
            before = frame
        for index in times.values():
            yield index, instead.get(index, before)

    def _by_number(self, missing):
        """Yields frames by their index, and continues where decoding has stopped."""
        for index in missing:
            if index in self._kept:
                yield index, self._kept[index]
        missing = [index for index in missing if index not in self._kept]
        if missing and (self._ahead is None or missing[0] < self._passed):
            self._ahead, self._passed = self._all_frames(), 0
        while missing:
            frame = next(self._ahead, None)
            if frame is None:
                raise ValueError(
                    f"{self._name}: frame {missing[0]} can no longer be decoded. The "
                    "file must not change while it is read."
                )
            self._keep(frame)
            if self._passed > missing[0]:
                yield missing.pop(0), frame

    def _keep(self, frame):
        """Keeps a frame that is decoded in order, and drops the oldest ones."""
        self._passed += 1
        # Error concealment depends on the frames that were returned to the decoder.
        self._is_whole = self._is_whole and not frame.is_corrupt
        if not self._is_whole:
            self._kept = {}
            return
        self._kept[self._passed - 1] = frame
        size = sum(plane.buffer_size for plane in frame.planes)
        while len(self._kept) > 1 and len(self._kept) * size > KEPT:
            del self._kept[next(iter(self._kept))]

    def _all_frames(self):
        """Yields every frame from the beginning."""
        if self._is_used:
            self._open()
        for packet in self._packets():
            yield from self._decode(packet)
        yield from self._decode(None)

    def _packets(self):
        """Yields the next packets, up to the end of the file or its truncation."""
        import av

        self._is_used = True
        with contextlib.suppress(av.FFmpegError):
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet

    def _decode(self, packet):
        """Returns the decoded frames of a packet, or of `None` at the end."""
        import av

        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:  # a damaged packet has no frames
            frames = []
        self.decoded += len(frames)
        return frames

    def _open(self):
        """Opens the file (again) at its beginning and picks the stream."""
        if self._container is not None:
            self._container.close()
        self._container, self._stream = containers.open_container(
            self._source, self._name
        )
        self._is_used = False

    def _begin(self):
        """Decodes the first frame. Returns the packets and frames up to it."""
        packets, frames = [], []
        for packet in self._packets():
            packets.append(packet)
            frames += self._decode(packet)
            if (frames and len(packets) > 1) or len(packets) == SEARCHED:
                break
        return packets, frames + self._decode(None)

    def _count_frames(self):
        """Decodes all frames, to get their number and timestamps."""
        times, self.first = [], None
        self._ahead, self._passed = self._all_frames(), 0
        for frame in self._ahead:
            self.first = self.first or frame
            times.append(frame.pts)
            self._keep(frame)
        if self.first is None:
            raise ValueError(
                f"{self._name}: no frame of its video can be decoded "
                f"({self._stream.codec_context.name}; at most {containers.LARGEST} "
                "pixels each). Copy or convert it again."
            )
        in_order = None not in times and times == sorted(set(times))
        self.times = times if in_order else range(len(times))
        if None not in times:
            self._set_fps(len(times), max(times) - min(times))

    def _list_packets(self):
        """Lists the packets. Returns whether they give the presentation order."""
        codec = self._stream.codec_context.codec.canonical_name
        self._set_fps(0, 0)
        if (
            self._container.format.name not in CONTAINERS
            or codec not in bitstream.CODECS
        ):
            return False
        begun, frames = self._begin()
        if not frames:
            return False
        self.first = frames[0]
        self._listed = packets = self._inspect(codec, begun)
        if not self._is_timed():
            return False
        # Frames outside the edit list are decoded, but not shown.
        shown = sorted((p.pts, at) for at, p in enumerate(packets) if not p.is_hidden)
        # The first decoded frames must agree with the packets.
        first = [time for time, at in shown if at < len(begun)]
        if first != [frame.pts for frame in frames] or first[0] != shown[0][0]:
            return False
        self.times, self._positions = zip(*shown, strict=True)
        self._keys = [at for at, packet in enumerate(packets) if packet.is_keyframe]
        # Two packets can have the same time before and after a seek. Their sizes
        # distinguish them.
        self._numbers = {
            (packet.pts, packet.size): at for at, packet in enumerate(packets)
        }
        self._set_fps(len(shown), self.times[-1] - self.times[0])
        return True

    def _inspect(self, codec, begun):
        """Returns all packets, including those already read, or none if unreliable."""
        header = self._stream.codec_context.extradata
        packets, cut_off = [], False
        for packet in itertools.chain(begun, self._packets()):
            count = bitstream.frames_shown(codec, packet)
            if count is None:
                return []
            key = packet.is_keyframe and bitstream.begins(codec, header, bytes(packet))
            hidden = packet.is_discard or not count
            packets.append(Packet(packet.pts, packet.dts, packet.size, key, hidden))
            cut_off = packet.is_corrupt
        if cut_off and len(packets) > 1:
            packets.pop()
        return packets

    def _set_fps(self, count, span):
        """Sets the frame rate from a number of frames, or from the file."""
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        if span:
            self.fps = float((count - 1) / (span * self._stream.time_base))

    def _is_timed(self):
        """Returns whether the times of the packets give the order of the frames."""
        times = [packet.pts for packet in self._listed]
        if None in times or len(set(times)) < len(times) or self.first.pts not in times:
            return False
        # Concatenated recordings can restart at an earlier time.
        keys = [packet.pts for packet in self._listed if packet.is_keyframe]
        # If decoding is out of order but times are in order, the container has no
        # times, and they are invented.
        made_up = self._stream.codec_context.has_b_frames and times == sorted(times)
        return keys == sorted(keys) and not made_up
