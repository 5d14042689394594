"""Parses packets: whether decoding can begin there, and how many frames they show.

Containers have flags and timestamps for this, too, but they can be wrong.
"""

import re

# The supported codecs: those that are parsed here, and still pictures.
CODECS = ("av1", "h264", "hevc", "mpeg4", "vp8", "vp9")
CODECS += ("dnxhd", "ffv1", "ffvhuff", "huffyuv", "mjpeg", "png", "prores", "rawvideo")
_PICTURE = re.compile(rb"\x00\x00\x01\xb6(.)", re.DOTALL)  # of MPEG-4 Part 2
_START = re.compile(rb"\x00\x00\x01")
_LEAST = 16  # bytes of an MPEG-4 packet; without a picture ("not coded"), it has fewer


def frames_shown(codec, packet):
    """The number of frames that a packet shows.

    Args:
        codec: string, one of `CODECS`, the canonical name of FFmpeg.
        packet: bytes-like, not empty.

    Returns:
        Int: 1, or 0 for a hidden reference frame. `None` if it is unknown (packed
        B-frames of MPEG-4, as DivX and XviD write them).
    """
    data = memoryview(packet)
    if codec == "mpeg4":
        one = len(_PICTURE.findall(data)) == 1 and len(data) >= _LEAST
        return 1 if one else None
    first, last = data[0], data[len(data) - 1]
    if codec == "vp8":  # RFC 6386, Section 9.1
        return first >> 4 & 1
    # VP9 Bitstream Specification, Section 6.2 and Annex B. A packet with several frames
    # shows the last one.
    if codec == "vp9" and last >> 5 != 0b110:
        flags = first << 1 if first >> 4 & 3 == 3 else first
        return int(bool(flags & 0b1010))  # show_existing_frame, show_frame
    return 1


def begins(codec, header, packet):
    """Returns whether a packet that the container marks as a key frame is one.

    Args:
        codec: string, one of `CODECS`.
        header: bytes, the extradata of the stream, or `None`.
        packet: bytes, not empty.

    Returns:
        Bool. `True` for codecs whose decoders refuse to begin anywhere else.
    """
    header = header or b""
    if codec == "mpeg4":
        found = _PICTURE.search(packet)
        return found is not None and found[1][0] >> 6 == 0
    if codec == "h264":
        mp4 = header[:1] == b"\1" and len(header) > 4
        return _begins_h264(_units(packet, (header[4] & 3) + 1 if mp4 else None))
    if codec == "hevc":
        mp4 = len(header) > 22 and header[:2] != b"\0\0"
        units = _units(packet, (header[21] & 3) + 1 if mp4 else None)
        # ITU-T H.265, Table 7-1: below 32 are pictures, 16 to 21 BLA, IDR and CRA.
        kinds = [unit[0] >> 1 & 63 for unit in units]
        return {16 <= kind <= 21 for kind in kinds if kind < 32} == {True}
    return True


def _begins_h264(units):
    """ITU-T H.264: an IDR picture, or a recovery point without a delay."""
    for unit in units:
        kind = unit[0] & 31
        if kind == 5:
            return True
        if kind == 6 and _recovers(unit[1:].replace(b"\0\0\3", b"\0\0")):
            return True
        if 1 <= kind <= 4:
            return False
    return False


def _units(data, length):
    """Splits NAL units, after lengths of `length` bytes or after start codes."""
    if length is None:
        starts = [found.end() for found in _START.finditer(data)]
        for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
            if start < end:
                yield data[start:end]
        return
    at = length
    while at < len(data):
        end = at + int.from_bytes(data[at - length : at], "big")
        if at < end:
            yield data[at:end]
        at = end + length


def _recovers(message):
    """Returns whether SEI messages have a recovery point with a count of 0 frames."""
    at = 0
    while at < len(message):
        numbers = []
        for _ in range(2):  # kind and size, each the sum of bytes: 255, 255, ..., last
            end = at
            while message[end : end + 1] == b"\xff":
                end += 1
            numbers.append(sum(message[at : end + 1]))
            at = end + 1
        kind, size = numbers
        if kind == 6:
            return message[at : at + 1] >= b"\x80"  # ue(v): a first bit of 1 is 0
        at += size
    return False
