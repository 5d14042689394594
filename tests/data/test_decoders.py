"""Frames are the same for every source and every decoder."""

import functools
import gzip
import io
import os
import re
import subprocess
import sys
import tarfile
import uuid
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
from PIL import Image

from stzoo.data import datasets, decoders, motions
from stzoo.data.decoders import open_video
from stzoo.data.frames import resize
from stzoo.data.video import Video

INDICES = [20, 3, 3, 0]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "video.mp4"
    motions.save(path, motions.render(7)[0])
    return path


@pytest.fixture(scope="module")
def expected(path):
    with Video(path) as video:
        return video.read(INDICES)


def write_frames(folder, frames, name="{:05d}.png"):
    folder.mkdir()
    for number, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(folder / name.format(number))
    return folder


def test_a_file_and_a_url(path, expected):
    url = f"memory://{uuid.uuid4()}/a.mp4"
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())
    for source in (path, str(path), url):
        with open_video(source) as video:
            assert len(video) == 21
            assert video.path == video.name == str(source)
            np.testing.assert_array_equal(video.read(INDICES), expected)
    with pytest.raises(FileNotFoundError):
        with open_video("memory://nowhere/a.mp4"):
            pass
    with pytest.raises(FileNotFoundError, match="nowhere.mp4"):
        with open_video(path.with_name("nowhere.mp4")):
            pass


@pytest.mark.parametrize("name", ["{:05d}.png", "img_{:d}.png"])
def test_a_folder_of_frames(tmp_path, name):
    frames = motions.render(7)[0]
    folder = write_frames(tmp_path / "12.5", frames, name)
    (folder / "notes.txt").write_text("not a frame")
    with open_video(folder) as video:
        assert len(video) == 21
        np.testing.assert_array_equal(video.read(INDICES), frames[INDICES])
        small = video.read(INDICES, short_side=33)
        np.testing.assert_array_equal(small, resize(frames[INDICES], 33))
        with pytest.raises(ValueError, match="12.5 has 21 frames"):
            video.read([21])


def test_a_folder_of_frames_at_a_url():
    frames, folder = motions.render(7)[0][:3], f"memory://{uuid.uuid4()}/42"
    for number, frame in enumerate(frames, 1):
        with fsspec.open(f"{folder}/{number:05d}.png", "wb") as file:
            Image.fromarray(frame).save(file, "png")
    with open_video(folder) as video:
        np.testing.assert_array_equal(video.read([2, 0]), frames[[2, 0]])


def test_folders_that_are_not_videos_are_refused(tmp_path):
    frames = motions.render(7)[0][:2]
    with pytest.raises(ValueError, match="empty.*folder|is a folder"):
        (tmp_path / "empty").mkdir()
        with open_video(tmp_path / "empty"):
            pass
    two = write_frames(tmp_path / "two", frames, "flow_x_{:05d}.jpg")
    Image.fromarray(frames[0]).save(two / "flow_y_00001.jpg")
    with pytest.raises(ValueError, match="one series.*'flow_x_', 'flow_y_'"):
        with open_video(two):
            pass
    (tmp_path / "two" / "img_1.jpg").write_bytes(b"")
    (tmp_path / "two" / "1.jpg").write_bytes(b"")
    with pytest.raises(
        ValueError, match="one series.*'', 'flow_x_', 'flow_y_', 'img_'"
    ):
        with open_video(two):
            pass
    odd = write_frames(tmp_path / "odd", frames)
    Image.fromarray(frames[0][:40]).save(odd / "00003.png")
    (odd / "00004.png").write_bytes(b"no image")
    with open_video(odd) as video:
        with pytest.raises(ValueError, match=r"sizes \[\(40, 80\), \(80, 80\)\]"):
            video.read([0, 2])
        with pytest.raises(ValueError, match="00004.png cannot be read"):
            video.read([3])


@pytest.mark.parametrize("flow", ["{}_{:05d}.jpg", "flow_{}_{:05d}.jpg", "{}{}.png"])
@pytest.mark.parametrize("name", ["img_{:05d}.png", "{:05d}.png"])
def test_optical_flow_next_to_frames_is_ignored(tmp_path, caplog, name, flow):
    frames = motions.render(7)[0][:3]
    decoders._log_ignored.cache_clear()
    for folder in ("a", "b"):
        folder = write_frames(tmp_path / folder, frames, name)
        for number in range(1, 4):
            for axis in "xy":
                picture = Image.fromarray(frames[0, :, :, 0])
                picture.save(folder / flow.format(axis, number))
        with open_video(folder) as video:
            np.testing.assert_array_equal(video.read([0, 1, 2]), frames)
    (record,) = caplog.records
    others = (flow.split("{:")[0] if "_" in flow else "{}").replace("{}", "{0}")
    assert f"{others.format('x')}*, {others.format('y')}* are not" in record.message


GREY_16 = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
RGB = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
SEEN = np.random.default_rng(1).integers(0, 256, (48, 64), np.uint8)  # alpha


def deep(pixels, array, codec="png"):
    """Encodes an image with 16 bits per colour, which Pillow cannot write."""
    context = av.CodecContext.create(codec, "w")
    context.height, context.width = array.shape[:2]
    context.pix_fmt, context.time_base = pixels, Fraction(1)
    frame = av.VideoFrame.from_ndarray(array, pixels)
    return b"".join(bytes(packet) for packet in context.encode(frame))


def shallow(image, format="png", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def pictures():
    image, alpha = Image.fromarray(RGB), Image.fromarray(SEEN)
    few, deeper = image.quantize(16), RGB.astype(np.uint16) * 257 - 40
    yield "grey_16.png", shallow(Image.fromarray(GREY_16))
    yield "grey_16.tif", shallow(Image.fromarray(GREY_16), "tiff")
    yield "rgb_16.png", deep("rgb48be", deeper)
    yield "rgb_16.tiff", deep("rgb48le", deeper, "tiff")
    yield "rgba_16.png", deep("rgba64be", np.dstack([deeper, GREY_16]))
    yield "cmyk.jpg", shallow(image.convert("CMYK"), "jpeg")
    yield "cmyk.tif", shallow(image.convert("CMYK"), "tiff")
    yield "black_and_white.png", shallow(image.convert("1"))
    yield "grey.png", shallow(image.convert("L"))
    yield "grey_alpha.png", shallow(Image.merge("LA", (image.convert("L"), alpha)))
    yield "alpha.png", shallow(Image.merge("RGBA", (*image.split(), alpha)))
    yield "palette.png", shallow(few)
    yield "palette_alpha.png", shallow(few, transparency=bytes(range(0, 160, 10)))
    yield "palette_hole.png", shallow(few, transparency=3)
    yield "palette.bmp", shallow(few, "bmp")
    yield "rgb.tif", shallow(image, "tiff", compression="tiff_lzw")
    yield "rgb.webp", shallow(image, "webp", lossless=True)
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"turned_{orientation}.png", shallow(image, exif=exif)


@pytest.mark.parametrize(
    ("name", "data"), [pytest.param(*p, id=p[0]) for p in pictures()]
)
def test_images_are_read_as_in_a_video(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / f"1.{name.split('.')[1]}").write_bytes(data)
    with Video(tmp_path / name) as video, open_video(folder) as frames:
        np.testing.assert_array_equal(frames.read([0]), video.read([0]))


def test_a_ramp_with_16_bits_stays_a_ramp(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "1.png").write_bytes(shallow(Image.fromarray(GREY_16)))
    (frames / "2.png").write_bytes(deep("rgb48be", np.dstack([GREY_16] * 3)))
    with open_video(frames) as video:
        found = video.read([0, 1])
    assert abs(found - GREY_16[:, :, None] / 257).max() < 2


@pytest.mark.parametrize("array", [np.ones((9, 9), "f4"), np.ones((9, 9), "i4")])
def test_images_with_an_unknown_white_level_are_refused(tmp_path, array):
    Image.fromarray(array).save(tmp_path / "1.tif")
    message = "1.tif cannot be read as an image: .* mode [FI].*Convert it"
    with open_video(tmp_path) as video:
        with pytest.raises(ValueError, match=message):
            video.read([0])


def test_videos_within_archives(path, expected, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.write(path, "run/a.mp4")
        file.write(path, "walk/b.mp4")
        file.writestr("list.csv", "run/a.mp4,running\nwalk/b,walking\n")
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as file:
            file.add(path, "run/a.mp4")
    memory = f"memory://{uuid.uuid4()}"
    for name in ("a.zip", "a.tar.gz"):
        with fsspec.open(f"{memory}/{name}", "wb") as file:
            file.write((tmp_path / name).read_bytes())
    with fsspec.open(f"{memory}/a.mp4.gz", "wb") as file:
        file.write(gzip.compress(path.read_bytes()))
    for url in (
        f"zip://run/a.mp4::{tmp_path}/a.zip",
        f"tar://run/a.mp4::{tmp_path}/a.tar",
        f"tar://run/a.mp4::{tmp_path}/a.tar.gz",
        f"zip://run/a.mp4::{memory}/a.zip",
        f"tar://run/a.mp4::{memory}/a.tar.gz",
        f"simplecache::zip://run/a.mp4::{memory}/a.zip",
        f"{memory}/a.mp4.gz",
    ):
        with open_video(url) as video:
            np.testing.assert_array_equal(video.read(INDICES), expected)
            with pytest.raises(ValueError, match=re.escape(url)):
                video.read([99])
    folder = f"zip://::{memory}/a.zip"
    videos = (f"zip://run/a.mp4::{memory}/a.zip", f"zip://walk/b.mp4::{memory}/a.zip")
    found = datasets.read(folder)
    assert (found.paths, found.classes) == (videos, ("run", "walk"))
    found = datasets.read(f"zip://list.csv::{memory}/a.zip")
    assert (found.paths, found.classes) == (videos, ("running", "walking"))


def test_errors_of_every_library_name_the_video(path, monkeypatch):
    def fail(self, indices):
        raise RuntimeError("Could not push packet to decoder")

    frames = decoders.Frames("a.mp4", 21, functools.partial(fail, None))
    with pytest.raises(ValueError, match="a.mp4 cannot be read as a video: Runtime"):
        frames.read([3])
    monkeypatch.setattr(decoders, "_open", fail)
    with pytest.raises(ValueError, match="video.mp4 cannot be read as a video: Type"):
        with open_video(path):
            pass


def test_an_error_of_the_caller_stays_what_it_is(path):
    with pytest.raises(KeyError):
        with open_video(path):
            raise KeyError("mine")


def test_a_file_object_and_an_array_are_read_like_the_file(path):
    with open_video(path) as video:
        frames, small = video.read(range(len(video))), video.read([3, 0], 24)
    for source in (io.BytesIO(path.read_bytes()), frames):
        with open_video(source) as video:
            assert len(video) == len(frames) and video.channels == 3
            np.testing.assert_array_equal(video.read([3, 3, 0]), frames[[3, 3, 0]])
            difference = video.read([3, 0], 24).astype(int) - small
            assert np.abs(difference).mean() < 2  # an array is resized as RGB
    with pytest.raises(ValueError, match="^The video has 21 frames.* from 0 to 99"):
        video.read([0, 99])


@pytest.mark.parametrize(
    "wrong, message",
    [
        (None, "must be a path, a URL, .* Received: NoneType"),
        ([1, 2], "must be a path, a URL, .* Received: list"),
        (np.zeros(3), r"must be a uint8 array .* Received: float64 \(3,\)"),
    ],
)
def test_sources_that_are_not_videos_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        with open_video(wrong):
            pass


def test_an_unknown_decoder(path):
    with pytest.raises(ValueError, match="decoder must be .* 'decord'"):
        with open_video(path, "decord"):
            pass


COMPARE = """
import sys
import numpy as np
from stzoo.data.decoders import open_video

path, decoder, *broken = sys.argv[1:]
indices = [20, 3, 3, 0]
with open_video(path) as video, open_video(path, decoder) as other:
    assert len(video) == len(other) == 21
    np.testing.assert_array_equal(video.read(indices), other.read(indices))
    small = other.read(indices, short_side=33)
    assert abs(video.read(indices, short_side=33).astype(int) - small).mean() < 2
for broken in broken:
    try:
        with open_video(broken, decoder) as video:
            video.read(range(len(video)))
    except ValueError as error:
        assert broken in str(error), error
        print("refused")
"""


def compare(python, decoder, path, tmp_path, folder):
    """Decodes in a process that finds the FFmpeg of a wheel by its usual names."""
    links = tmp_path / "links"
    links.mkdir()
    for library in [*folder.glob("libav*"), *folder.glob("libsw*")]:
        name, _, version = library.name.partition(".so.")
        plain = f"{name.partition('-')[0]}.so.{version.partition('.')[0]}"
        (links / plain).symlink_to(library)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all\n" * 99)
    cut = tmp_path / "cut.mp4"
    options = {"movflags": "faststart"}
    with av.open(str(path)) as source, av.open(str(cut), "w", options=options) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    found = subprocess.run(
        [python, "-c", COMPARE, str(path), decoder, str(broken), str(cut)],
        env={
            **os.environ,
            "KERAS_BACKEND": "tensorflow" if decoder == "tensorflow-io" else "torch",
            "LD_LIBRARY_PATH": f"{links}:{folder}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
    )
    # tensorflow-io returns the frames before the cut.
    refused = 1 if decoder == "tensorflow-io" else 2
    assert found.stdout == "refused\n" * refused, found.stderr


def test_torchcodec(path, tmp_path):
    folder = Path(av.__file__).parents[1] / "av.libs"  # of FFmpeg 8, in PyAV's wheel
    compare(sys.executable, "torchcodec", path, tmp_path, folder)


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="TensorFlow 2.16 is older")
def test_tensorflow_io(path, tmp_path, request):
    """The test runs in its own virtual environment, which is created once."""
    home = Path(request.config.cache.mkdir("tensorflow-io"))
    python, libraries = home / "venv/bin/python", home / "opencv_python_headless.libs"
    if not libraries.exists():
        run = functools.partial(subprocess.run, check=True)
        run([sys.executable, "-m", "venv", home / "venv"])
        root = Path(__file__).parents[2]
        run([python, "-m", "pip", "install", "-q", "-e", f"{root}[tensorflow-io]"])
        # This wheel contains FFmpeg 4.
        wheel = ["--no-deps", "opencv-python-headless==4.5.5.64"]
        run([python, "-m", "pip", "download", "-q", "-d", home, *wheel])
        (wheel,) = home.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(home)
    compare(python, "tensorflow-io", path, tmp_path, libraries)
