"""The tests encode videos whose frames show their index in black and white.

Frames are compared with that index, and with a complete decode of the file.
"""

import io
import pathlib
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from stzoo.data.video import Video, errors_named, scaled_size

BITS = 8


def picture(number, height=48, width=64):
    rows, columns = np.mgrid[:height, :width]
    shades = [rows * 5 + 3 * number, columns * 3, (rows + columns) * 2 + number]
    frame = np.stack(shades, axis=-1).astype(np.uint8)
    for bit in range(BITS):
        frame[:8, bit * 8 : bit * 8 + 8] = 255 * (number >> bit & 1)
    return frame


def number(frame):
    marks = frame[2:6, : 8 * BITS].reshape(4, BITS, 8, 3)[:, :, 2:6].mean((0, 2, 3))
    return int((marks > 127) @ (1 << np.arange(BITS)))


def write(
    path, frames, codec="libx264", pixels="yuv420p", times=None, mux=None, **options
):
    """Encodes frames. `times` are in milliseconds, `mux` are container options."""
    with av.open(str(path), "w", container_options=mux or {}) as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for count, frame in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(frame, "rgb24")
            if times:
                frame.pts, frame.time_base = times[count], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path, cover=None):
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100, layout="mono")
        if cover is not None:
            image = container.add_stream("mjpeg", rate=1)
            image.height, image.width = cover.shape[:2]
            image.pix_fmt = "yuvj420p"
            image.disposition = av.stream.Disposition.attached_pic
            container.mux(image.encode(av.VideoFrame.from_ndarray(cover, "rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), "f4"), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def decode_all(path):
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


def pictures(count, *size):
    return [picture(count, *size) for count in range(count)]


FORMATS = {
    "b_frames.mp4": {"bf": "3", "g": "12"},
    "open_gop.mp4": {"x264-params": "open-gop=1:keyint=12:b-pyramid=normal"},
    "open_gop.ts": {"x264-params": "open-gop=1:keyint=12:b-pyramid=normal"},
    "refresh.mp4": {"x264-params": "intra-refresh=1:keyint=15"},
    "one_key.mkv": {},
    "no_b_frames.flv": {"bf": "0", "g": "10"},
    "times_made_up.avi": {"bf": "3", "g": "12"},
    "no_times.h264": {"bf": "3", "g": "12"},
    "interlaced.ts": {"x264-params": "interlaced=1:keyint=12"},
    "hevc.mp4": {"codec": "libx265", "x265-params": "log-level=none:keyint=12"},
    "vp8.webm": {"codec": "libvpx", "auto-alt-ref": "1", "deadline": "realtime"},
    "alpha.webm": {"codec": "libvpx-vp9", "pixels": "yuva420p", "cpu-used": "8"},
    "packed.avi": {"codec": "mpeg4", "bf": "2"},
    "times_change.mpg": {"codec": "mpeg2video", "bf": "2"},
    "animated.gif": {"codec": "gif", "pixels": "rgb8"},
    "alpha.mov": {"codec": "qtrle", "pixels": "argb"},
    "png_alpha.mov": {"codec": "png", "pixels": "rgba"},
    "grey.mkv": {"codec": "ffv1", "pixels": "gray"},
    "grey_16.mkv": {"codec": "ffv1", "pixels": "gray16le"},
    "ten_bits.mkv": {"codec": "ffv1", "pixels": "yuv420p10le"},
    "jpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "windows.wmv": {"codec": "wmv2", "g": "12"},
    "times_change.mkv": {"codec": "mpeg2video", "bf": "2", "g": "12"},
    "b_frames.mkv": {"codec": "mpeg4", "bf": "2", "g": "12"},
    "hidden.webm": {"codec": "libvpx", "auto-alt-ref": "1", "lag-in-frames": "16"},
    "layers.mp4": {
        "codec": "libx265",
        "x265-params": "log-level=none:keyint=12:temporal-layers=3:open-gop=1",
    },
}


@pytest.mark.parametrize("name", FORMATS)
def test_frames_are_those_of_a_complete_decode(tmp_path, name):
    path = write(tmp_path / name, pictures(40), **FORMATS[name])
    expected = np.stack(decode_all(path))
    assert [number(frame) for frame in expected] == list(range(40))
    rng = np.random.default_rng(0)
    with Video(path) as video:
        assert len(video) == 40 and video.size == (48, 64)
        fps = 25 if name == "no_times.h264" else 30
        assert video.fps == pytest.approx(fps, rel=0.02)
        for _ in range(8):
            indices = rng.integers(0, 40, 4)
            np.testing.assert_array_equal(video.read(indices), expected[indices])
        np.testing.assert_array_equal(video.read(range(40)), expected)


def encode(codec, frames, **options):
    """Returns packets of a codec: `[bytes, pts, dts, is_keyframe]` in frames."""
    context = av.CodecContext.create(codec, "w")
    context.height, context.width = frames[0].shape[:2]
    context.pix_fmt, context.options = "yuv420p", options
    context.time_base, context.framerate = Fraction(1, 30), Fraction(30)
    packets = []
    for count, frame in enumerate([*frames, None]):
        if frame is not None:
            frame = av.VideoFrame.from_ndarray(frame, "rgb24")
            frame.pts = count
        for packet in context.encode(frame):
            times = packet.pts, packet.dts, packet.is_keyframe
            packets.append([bytes(packet), *times])
    return packets


def write_packets(path, codec, packets):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = 48, 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for data, pts, dts, key in packets:
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 30)
            packet.pts, packet.dts, packet.is_keyframe = pts, dts, key
            container.mux(packet)
    return path


def check_against_a_complete_decode(path, numbers=range(60)):
    """Reads each frame alone in random order, and all at once."""
    expected = np.stack(decode_all(path))
    assert [number(frame) for frame in expected] == list(numbers)
    with Video(path) as video:
        assert len(video) == len(numbers)
        for index in np.random.default_rng(0).permutation(len(numbers)):
            np.testing.assert_array_equal(video.read([index])[0], expected[index])
    with Video(path) as video:
        np.testing.assert_array_equal(video.read(range(len(video))), expected)


PICTURE = b"\0\0\1\xb6"  # start of an MPEG-4 picture; two bits with its type follow
NOT_CODED = PICTURE + b"\x52\xdf\xff"  # a P-frame; its last bit, of 11, is 0


def packed(packets):
    """Packs B-frames as DivX and XviD do in .avi: the first one with the P-frame."""
    data = [packet[0] for packet in packets]
    at = min(data[0].index(mark) for mark in (b"\0\0\1\xb3", PICTURE))
    data[0] = data[0][:at] + b"\0\0\1\xb2DivX503b1393p" + data[0][at:]
    kinds = [each[each.index(PICTURE) + 4] >> 6 for each in data]  # 0 I, 1 P, 2 B
    count = 0
    while count < len(data):
        if kinds[count : count + 2] in ([0, 2], [1, 2]):
            yield data[count] + data[count + 1], kinds[count] == 0
            count += 2
            while kinds[count : count + 1] == [2]:
                yield data[count], False
                count += 1
            yield NOT_CODED, False
        else:
            yield data[count], kinds[count] == 0
            count += 1


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
@pytest.mark.parametrize("between", ["1", "2"])
def test_packed_b_frames(tmp_path, suffix, between):
    packets = encode("mpeg4", pictures(60), bf=between, g="12")
    packets = [(data, at, at, key) for at, (data, key) in enumerate(packed(packets))]
    path = write_packets(tmp_path / f"divx.{suffix}", "mpeg4", packets)
    check_against_a_complete_decode(path)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_packets_wrongly_marked_as_key_frames(tmp_path, codec):
    options = {"x265-params": "log-level=none:bframes=0:keyint=20"}
    packets = encode(codec, pictures(60), bf="0", g="20", **options)
    packets = [(data, pts, dts, True) for data, pts, dts, _ in packets]
    path = write_packets(tmp_path / "all_keys.mp4", codec, packets)
    check_against_a_complete_decode(path)
    with Video(path) as video:
        before = video.decoded
        video.read([50])
        assert video.decoded - before < 20, "only true key frames are used"


@pytest.mark.parametrize("where", [0, 24])
def test_times_that_are_not_presentation_times(tmp_path, where):
    packets = encode("libx264", pictures(60), bf="2", g="12")
    swapped = {where + 1: where + 2, where + 2: where + 1}
    packets = [(data, swapped.get(pts, pts), *rest) for data, pts, *rest in packets]
    path = write_packets(tmp_path / "swapped.mp4", "libx264", packets)
    expected = np.stack(decode_all(path))
    assert [number(frame) for frame in expected] == list(range(60))
    with Video(path) as video:
        np.testing.assert_array_equal(video.read(range(60)), expected)
        np.testing.assert_array_equal(video.read([25, 26]), expected[25:27])
    with Video(path) as video:
        np.testing.assert_array_equal(video.read([where + 1])[0], expected[where + 1])


def test_b_frames_that_are_packed_later(tmp_path):
    packets = encode("mpeg4", pictures(48), bf="2", g="12")
    data = encode("mpeg4", pictures(12), bf="0", g="12")
    data = [(each[0], each[3]) for each in data] + list(packed(packets))
    packets = [(each, at, at, key) for at, (each, key) in enumerate(data)]
    path = write_packets(tmp_path / "divx.mkv", "mpeg4", packets)
    expected = np.stack(decode_all(path))
    with Video(path) as video:
        assert len(video) == len(expected)
        np.testing.assert_array_equal(video.read(range(len(video))), expected)
        for index in (17, 20, 33):
            np.testing.assert_array_equal(video.read([index])[0], expected[index])


def test_a_packet_without_a_picture(tmp_path):
    """XviD omits a frame that equals the one before it."""
    packets = encode("mpeg4", pictures(60), bf="0", g="12")
    for at in (5, 33):
        packets[at][0] = NOT_CODED
    path = write_packets(tmp_path / "static.mp4", "mpeg4", packets)
    shown = [number(frame) for frame in decode_all(path)]
    assert len(shown) == 58
    with Video(path) as video:
        assert len(video) == 58
        assert [number(frame) for frame in video.read(range(58))] == shown


def test_the_version_of_x264_in_the_first_packet(tmp_path, monkeypatch):
    """FFmpeg decodes 4:4:4 of old versions of x264 differently."""
    options = {"pixels": "yuv444p", "x264-params": "keyint=24:scenecut=0"}
    data = write(tmp_path / "new.mp4", pictures(288), **options).read_bytes()
    at = data.index(b"x264 - core ") + len(b"x264 - core ")
    path = tmp_path / "old.mp4"
    path.write_bytes(data[:at] + b"148" + data[at + 3 :])
    # This damages the frames, so their pixels are not always the same.
    others = np.stack(decode_all(tmp_path / "new.mp4"))
    changed = (np.stack(decode_all(path)) != others).any((1, 2, 3))
    indices = list(range(21, 288, 24))
    assert changed[indices[6:]].any(), "the version makes a difference"
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with Video(path) as video:
        found = (video.read(indices) != others[indices]).any((1, 2, 3))
        assert len(video._tracks) == 2
        np.testing.assert_array_equal(found, changed[indices])


def test_decoding_in_order_continues_where_it_stopped(tmp_path, monkeypatch):
    path = write(tmp_path / "video.ts", pictures(60), g="12")
    with Video(path) as video:
        assert video.decoded == 60, "opening counts the frames"
        indices = [40, 3, 17, 59]
        assert [number(frame) for frame in video.read(indices)] == indices
        assert video.decoded == 60, "a short video is kept"
    size = 64 * 48 * 3 // 2
    monkeypatch.setattr("stzoo.data.track.KEPT", 8 * size)
    with Video(path) as video:
        for start in range(0, 60, 10):
            part = range(max(start - 4, 0), start + 10)
            assert [number(frame) for frame in video.read(part)] == list(part)
        assert video.decoded == 120
        assert number(video.read([2])[0]) == 2


def test_damage_in_a_key_frame(tmp_path):
    """It is concealed with the frame before the key frame."""
    packets = encode("mpeg4", pictures(60), bf="0", g="12")
    data = packets[24][0]
    packets[24][0] = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    path = write_packets(tmp_path / "damaged.mkv", "mpeg4", packets)
    expected = decode_all(path)
    assert len(expected) == 60
    for index in (24, 30, 20, 40):
        with Video(path) as video:
            np.testing.assert_array_equal(video.read([index])[0], expected[index])


def test_damage_in_order(tmp_path):
    """Concealment depends on the frames that were returned to the decoder."""
    path = write(tmp_path / "damaged.avi", pictures(60, 96, 128), g="20")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0)]
    data = path.read_bytes()
    for packet in packets[10:50:7]:
        data = data.replace(packet, packet[:40].ljust(len(packet), b"\0"))
    path.write_bytes(data)
    expected = decode_all(path)
    with Video(path) as video:
        np.testing.assert_array_equal(video.read(range(len(video))), expected)


@pytest.mark.parametrize("size", [(49, 65), (48, 65), (49, 64), (17, 71)])
def test_odd_sizes(tmp_path, size):
    frames = pictures(5, *size)
    path = write(tmp_path / "odd.mp4", frames, pixels="yuv444p")
    with Video(path) as video:
        assert video.size == size
        np.testing.assert_array_equal(video.read(range(5)), decode_all(path))
        height, width = scaled_size(size, 24)
        assert video.read([4], short_side=24).shape == (1, height, width, 3)


def test_only_needed_frames_are_decoded(tmp_path):
    path = write(tmp_path / "long.mp4", pictures(240), g="24", bf="3")
    with Video(path) as video:
        opened = video.decoded
        assert opened <= 4, "opening decodes the first frames, and no more"
        video.read([130])
        assert video.decoded <= opened + 130 % 24 + 1
        before = video.decoded
        indices = [5, 125, 5, 220]
        assert [number(frame) for frame in video.read(indices)] == indices
        assert video.decoded - before < 40
        before = video.decoded
        video.read(range(240))
        assert video.decoded - before == 240, "no frame is decoded twice"


def test_frames_without_dependants_are_skipped(tmp_path):
    options = {"g": "60", "bf": "3", "x264-params": "scenecut=0:b-adapt=0"}
    path = write(tmp_path / "b.mp4", pictures(60), **options)
    with Video(path) as video:
        before = video.decoded
        assert number(video.read([59])[0]) == 59
        assert video.decoded - before < 40


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate_and_late_start(tmp_path, suffix):
    times = (5000 + np.cumsum(np.random.default_rng(0).integers(5, 90, 40))).tolist()
    path = write(tmp_path / f"vfr.{suffix}", pictures(40), times=times)
    with Video(path) as video:
        assert [number(frame) for frame in video.read([0, 39, 17])] == [0, 39, 17]
        assert len(video) == 40
        assert video.fps == pytest.approx(39_000 / (times[-1] - times[0]), rel=0.01)


def test_concatenated_recordings(tmp_path):
    late = write(tmp_path / "1.ts", pictures(10), times=list(range(60_000, 60_400, 40)))
    early = write(tmp_path / "2.ts", pictures(20, 96, 128))
    path = tmp_path / "both.ts"
    path.write_bytes(late.read_bytes() + early.read_bytes())
    with Video(path) as video:
        assert len(video) == 30 and video.size == (48, 64)
        assert [number(frame) for frame in video.read([3, 9])] == [3, 9]
        assert video.read([29]).shape == (1, 48, 64, 3), "one size for all"


# The matrix of a track header (a, b, u, c, d, v, x, y, w) and its effect on an array.
TURNS = {
    (1, 0, 0, 1): lambda frame: frame,
    (0, 1, -1, 0): lambda frame: np.rot90(frame, -1),  # a phone held upright
    (-1, 0, 0, -1): lambda frame: np.rot90(frame, 2),
    (0, -1, 1, 0): lambda frame: np.rot90(frame, 1),
    (-1, 0, 0, 1): lambda frame: frame[:, ::-1],  # a mirrored selfie
    (1, 0, 0, -1): lambda frame: frame[::-1],
    (0, 1, 1, 0): lambda frame: frame.swapaxes(0, 1),
    (0, -1, -1, 0): lambda frame: frame.swapaxes(0, 1)[::-1, ::-1],
}


@pytest.mark.parametrize("turn", TURNS)
def test_display_matrix(tmp_path, turn):
    path = write(tmp_path / "phone.mp4", pictures(3))
    data, (a, b, c, d) = bytearray(path.read_bytes()), turn
    at = data.index(b"tkhd") + 44
    matrix = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    data[at : at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)
    upright = [TURNS[turn](frame) for frame in decode_all(path)]
    with Video(path) as video:
        assert video.size == upright[0].shape[:2]
        np.testing.assert_array_equal(video.read([0, 1, 2]), upright)
        size = scaled_size(video.size, 24)
        small = video.read([0], short_side=24)
    assert small.shape == (1, *size, 3)
    expected = Image.fromarray(upright[0]).resize(size[::-1], Image.Resampling.BILINEAR)
    assert abs(small[0].astype(int) - np.asarray(expected)).mean() < 5


def test_edit_list(tmp_path, monkeypatch):
    path = write(tmp_path / "edited.mp4", pictures(60), g="12", bf="3")
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    _, start, rate = struct.unpack(">3i", data[at : at + 12])
    # Starts 17 frames later (one is 512 ticks), in the middle of a group; lasts 1 s.
    data[at : at + 12] = struct.pack(">3i", 1000, start + 17 * 512, rate)
    path.write_bytes(data)
    expected = decode_all(path)
    with Video(path) as video:
        frames = video.read(range(len(video)))
    np.testing.assert_array_equal(frames, expected)
    assert [number(frame) for frame in frames] == list(range(17, 47))
    with Video(path) as video:
        assert video.decoded < 10, "the packets give the shown frames"
    monkeypatch.setattr("stzoo.data.track.SEARCHED", 1)  # what is held in memory
    with Video(path) as video:
        assert video.decoded >= 30, "it is decoded in order"
        np.testing.assert_array_equal(video.read(range(30)), expected)


def test_several_video_streams(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=30) for _ in range(2)]
        for stream, size in zip(streams, [(48, 64), (96, 128)], strict=True):
            stream.height, stream.width = size
        for count in range(10):
            for stream in streams:
                frame = picture(count, stream.height, stream.width)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    with Video(path) as video:
        assert len(video) == 10
        np.testing.assert_array_equal(video.read([7]), decode_all(path)[7:8])


@pytest.mark.parametrize("name", ["one.mp4", "one.png", "one.gif"])
def test_one_frame(tmp_path, name):
    if name.endswith("mp4"):
        write(tmp_path / name, pictures(1))
    else:
        Image.fromarray(picture(0)).save(tmp_path / name)
    with Video(tmp_path / name) as video:
        assert len(video) == 1
        assert video.read([0, 0, 0]).shape == (3, 48, 64, 3)


def test_broken_sources(tmp_path):
    video = write(tmp_path / "video.mp4", pictures(30)).read_bytes()
    cases = {
        "empty.mp4": (b"", "is empty"),
        "text.mp4": (b"no video at all\n" * 99, "cannot be read as a video"),
        "notes.txt": (b"no video at all\n" * 99, "has no video stream"),
        "noise.avi": (np.random.default_rng(0).bytes(9999), "cannot be read"),
        "cut.mp4": (video[: len(video) // 2], "cannot be read as a video: .*damaged"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}.*{message}"):
            Video(path)
        with pytest.raises(ValueError, match="The file object BytesIO"):
            Video(io.BytesIO(content))
    with pytest.raises(FileNotFoundError, match="nowhere.mp4"):
        Video(tmp_path / "nowhere.mp4")
    with pytest.raises(ValueError, match="is a folder"):
        Video(tmp_path)
    for cover in (None, picture(0)):
        path = write_sound(tmp_path / "sound.mp4", cover)
        with pytest.raises(ValueError, match="sound.mp4 has no video stream, only aud"):
            Video(path)
    with pytest.raises(ValueError, match="reads text"):
        Video(io.StringIO("text"))
    with pytest.raises(ValueError, match="path or a file object"):
        Video(5)


def test_a_truncated_file_has_the_frames_before_the_cut(tmp_path):
    options = {"g": "12", "bf": "0", "mux": {"movflags": "faststart"}}
    whole = write(tmp_path / "whole.mp4", pictures(60), **options).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: int(len(whole) * 0.6)])
    with Video(path) as video:
        assert 10 < len(video) < 50
        frames = video.read(range(len(video)))
        assert [number(frame) for frame in frames] == list(range(len(video)))
        assert number(video.read([len(video) - 1])[0]) == len(video) - 1
    path.write_bytes(whole[: whole.index(b"mdat") + 8])
    with pytest.raises(ValueError, match="cut.mp4: no frame .* can be decoded"):
        Video(path)


def test_damage_in_the_middle(tmp_path):
    path = write(tmp_path / "damaged.mkv", pictures(60), "mjpeg", "yuvj420p")
    with av.open(str(path)) as container:
        packets = list(container.demux(video=0))
    data = path.read_bytes()
    for packet in packets[20:23]:
        data = data.replace(bytes(packet), bytes(packet.size))
    path.write_bytes(data)
    with Video(path) as video:
        assert len(video) == 60
        frames = video.read([18, 20, 22, 23])
        assert [number(frame) for frame in frames] == [18, 19, 19, 23], "as in a player"


def test_file_objects(tmp_path):
    path = write(tmp_path / "video.mkv", pictures(30), g="10")
    data = path.read_bytes()

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    used = io.BytesIO(data)
    used.seek(0, io.SEEK_END)
    for source in (io.BytesIO(data), used, Pipe(data), pathlib.Path(path), str(path)):
        with Video(source) as video:
            assert [number(frame) for frame in video.read([25, 3])] == [25, 3]
    with open(path, "rb") as file:
        with Video(file) as video:
            assert [number(frame) for frame in video.read([25, 3])] == [25, 3]
        assert not file.closed
    odd = tmp_path / "100%: a b%03d.mkv"
    odd.write_bytes(data)
    with Video(odd) as video:
        assert len(video) == 30


def test_threads_with_a_video_each(tmp_path):
    path = write(tmp_path / "video.mp4", pictures(120), g="12")

    def read(seed):
        indices = np.random.default_rng(seed).integers(0, 120, 60)
        with Video(path) as video:
            frames = np.concatenate([video.read(part) for part in np.split(indices, 6)])
        return [number(frame) for frame in frames] == indices.tolist()

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(read, range(4)))


def test_threads_in_one_video(tmp_path, monkeypatch):
    options = {"x264-params": "keyint=24:scenecut=0"}
    path = write(tmp_path / "video.mp4", pictures(240), **options)
    indices = [*range(237, 0, -24), 7, 237]
    with Video(path) as video, open(path, "rb") as file, Video(file) as other:
        monkeypatch.setattr("os.cpu_count", lambda: 1)
        alone = video.read(indices, short_side=32)
        before = video.decoded
        monkeypatch.setattr("os.cpu_count", lambda: 3)
        np.testing.assert_array_equal(video.read(indices, short_side=32), alone)
        assert len(video._tracks) == 2, "a thread for each 100 packets"
        assert video.decoded - before <= before, "nothing is decoded twice"
        np.testing.assert_array_equal(other.read(indices, short_side=32), alone)
        assert [number(frame) for frame in video.read(indices)] == indices


@pytest.mark.parametrize("short_side", [40, 63, 64, 150])
def test_resize_is_bilinear_and_antialiased(tmp_path, short_side):
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    frame = np.asarray(smooth.resize((160, 120), Image.Resampling.BICUBIC))
    path = write(tmp_path / "video.mp4", [frame], crf="10")
    with Video(path) as video:
        (frame,) = video.read([0], short_side=short_side)
    with av.open(str(path)) as container:
        planes = next(container.decode(video=0)).to_ndarray()

    def scaled(plane, neutral, span, shift):
        """A plane in 0..255, read `shift` of a sample further to the right."""
        image = np.pad((plane.astype("f4") - neutral) / span * 255, 1, "edge")
        box = (1 + shift, 1, plane.shape[1] + 1 + shift, plane.shape[0] + 1)
        size = frame.shape[1::-1]
        return np.asarray(
            Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box)
        )

    # ITU-R BT.601; in MPEG video, a chroma sample stands at the left of its two pixels.
    y = scaled(planes[:120], 16, 219, 0)
    u, v = (scaled(p, 128, 224, 0.25) for p in planes[120:].reshape(2, 60, 80))
    expected = np.stack(
        [y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], axis=-1
    )
    error = frame - expected.clip(0, 255)
    assert abs(error).mean() < 0.3 and abs(error).max() < 1
    assert abs(error.mean((0, 1))).max() < 0.05


def test_indices_out_of_range_and_closed_videos(tmp_path):
    path = write(tmp_path / "video.mp4", pictures(9))
    with Video(path) as video:
        assert video.read([]).shape == (0, 48, 64, 3)
        for indices in ([9], [-1], [0, 100]):
            with pytest.raises(ValueError, match="video.mp4 has 9 frames, 0 to 8"):
                video.read(indices)
        for short_side in (0, 2.5):
            with pytest.raises(ValueError, match="short_side"):
                video.read([0], short_side)
    with pytest.raises(ValueError, match="closed"):
        video.read([0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_side_data_without_a_name_in_pyav(tmp_path, orientation):
    """EXIF of JPEG is an example. It also has the orientation of the camera."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    frame, packets = picture(5), []
    for at in range(3):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", exif=exif, quality=95, subsampling=0)
        packets.append((file.getvalue(), at, at, True))
    path = write_packets(tmp_path / "exif.avi", "mjpeg", packets)
    upright = ImageOps.exif_transpose(Image.open(file))
    with Video(path) as video:
        assert video.size == upright.size[::-1] and len(video) == 3
        frames = video.read([0, 2])
    assert abs(frames.astype(int) - np.asarray(upright)).mean() < 2


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4", "mjpeg"])
@pytest.mark.parametrize("size", [(60000, 60000), (7000, 20000)])
def test_sizes_that_are_too_large(tmp_path, suffix, size):
    file = io.BytesIO()
    Image.fromarray(picture(0)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    at = data.index(b"\xff\xc0") + 5  # the size in the header of the frame
    data[at : at + 4] = struct.pack(">2H", *size)
    packets = [(bytes(data), at, at, True) for at in range(3)]
    path = write_packets(tmp_path / f"huge.{suffix}", "mjpeg", packets)
    with pytest.raises(ValueError, match=f"huge.{suffix}: no .* 134217728 pixels"):
        Video(path)


def test_an_image_that_is_too_large(tmp_path):
    parts = [b"IHDR" + struct.pack(">2I5B", 20000, 7000, 1, 0, 0, 0, 0)]
    parts += [b"IDAT" + zlib.compress(bytes(7000 * 2501)), b"IEND"]  # black
    data = b"\x89PNG\r\n\x1a\n"
    for part in parts:
        size, check = len(part) - 4, zlib.crc32(part)
        data += struct.pack(">I", size) + part + struct.pack(">I", check)
    (tmp_path / "huge.png").write_bytes(data)
    with pytest.raises(ValueError, match="huge.png: no frame .* at most 134217728 pix"):
        Video(tmp_path / "huge.png")


def test_an_image_that_is_too_large_is_not_decoded(tmp_path, monkeypatch):
    Image.fromarray(picture(0)).save(tmp_path / "picture.png")
    seen, real = [], av.open

    def spy(*arguments, **options):
        container = real(*arguments, **options)
        seen.append(container.streams.video[0].pix_fmt)
        return container

    monkeypatch.setattr(av, "open", spy)
    Video(tmp_path / "picture.png").close()
    monkeypatch.setattr("stzoo.data.containers.LARGEST", 1000)
    with pytest.raises(ValueError, match="at most 1000 pixels"):
        Video(tmp_path / "picture.png")
    assert seen[0] == "rgb24" and seen[-1] is None


def test_extreme_aspect_ratios(tmp_path):
    Image.new("RGB", (30000, 2)).save(tmp_path / "line.png")
    with Video(tmp_path / "line.png") as video:
        message = "line.png: Frames of 2x30000 .* shorter side of 72: .* 72x1080000"
        with pytest.raises(ValueError, match=message):
            video.read([0], short_side=72)
        assert video.read([0]).shape == (1, 2, 30000, 3)
    assert scaled_size((2, 30000), 1) == (1, 15000)
    assert scaled_size((2000, 32000), 1500) == (1500, 24000), "downscaling is allowed"
    with pytest.raises(ValueError, match="0x64 .* are empty"):
        scaled_size((0, 64), 5)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("lost"), OSError(5, "lost"), av.FFmpegError(1, "lost"), KeyError(3)],
)
def test_every_error_names_the_video(tmp_path, monkeypatch, error):
    path = write(tmp_path / "video.mp4", pictures(9))

    def fail(*arguments):
        raise error

    with Video(path) as video:
        monkeypatch.setattr("stzoo.data.track.Track.frames", fail)
        with pytest.raises(ValueError, match="video.mp4 cannot be read as a video: "):
            video.read([0])
    monkeypatch.setattr("stzoo.data.track.Track.__init__", fail)
    with pytest.raises(ValueError, match="video.mp4 cannot be read as a video: "):
        Video(path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, FileNotFoundError])
def test_errors_with_other_causes_are_not_changed(error):
    with pytest.raises(error):
        with errors_named("video.mp4"):
            raise error


def test_scaled_size():
    assert scaled_size((720, 1280), 256) == (256, 455)
    assert scaled_size((1280, 720), 256) == (455, 256)
    assert scaled_size((240, 320), 256) == (256, 341)
    assert scaled_size((240, 320), None) == (240, 320)
