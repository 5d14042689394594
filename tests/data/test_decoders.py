"""Frames are the same, wherever they are and whatever decodes them."""

import functools
import os
import subprocess
import sys
import uuid
import zipfile
from importlib.util import find_spec
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
from PIL import Image

from stzoo.data import motions
from stzoo.data.decoders import open_video
from stzoo.data.transforms import resize
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


def test_folders_that_are_no_video(tmp_path):
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
    odd = write_frames(tmp_path / "odd", frames)
    Image.fromarray(frames[0][:40]).save(odd / "00003.png")
    (odd / "00004.png").write_bytes(b"no image")
    with open_video(odd) as video:
        with pytest.raises(ValueError, match=r"sizes \[\(40, 80\), \(80, 80\)\]"):
            video.read([0, 2])
        with pytest.raises(ValueError, match="00004.png cannot be read"):
            video.read([3])


def test_an_unknown_decoder(path):
    with pytest.raises(ValueError, match="decoder must be .* 'decord'"):
        with open_video(path, "decord"):
            pass


COMPARE = """
import sys
import numpy as np
from stzoo.data.decoders import open_video

path, decoder, broken = sys.argv[1:]
indices = [20, 3, 3, 0]
with open_video(path) as video, open_video(path, decoder) as other:
    assert len(video) == len(other) == 21
    np.testing.assert_array_equal(video.read(indices), other.read(indices))
    small = other.read(indices, short_side=33)
    assert abs(video.read(indices, short_side=33).astype(int) - small).mean() < 2
try:
    with open_video(broken, decoder):
        pass
except ValueError as error:
    assert broken in str(error), error
    print("the same")
"""


def compare(python, decoder, path, tmp_path, folder):
    """Decodes in a process for which FFmpeg, from a wheel, has its plain names."""
    links = tmp_path / "links"
    links.mkdir()
    for library in [*folder.glob("libav*"), *folder.glob("libsw*")]:
        name, _, version = library.name.partition(".so.")
        plain = f"{name.partition('-')[0]}.so.{version.partition('.')[0]}"
        (links / plain).symlink_to(library)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all\n" * 99)
    found = subprocess.run(
        [python, "-c", COMPARE, str(path), decoder, str(broken)],
        env={
            **os.environ,
            "KERAS_BACKEND": "tensorflow" if decoder == "tensorflow-io" else "torch",
            "LD_LIBRARY_PATH": f"{links}:{folder}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
    )
    assert found.stdout == "the same\n", found.stderr


@pytest.mark.skipif(not find_spec("torchcodec"), reason="needs torchcodec")
def test_torchcodec(path, tmp_path):
    folder = Path(av.__file__).parents[1] / "av.libs"  # of FFmpeg 8, in PyAV's wheel
    compare(sys.executable, "torchcodec", path, tmp_path, folder)


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="TensorFlow 2.16 is older")
def test_tensorflow_io(path, tmp_path, request):
    """In an environment of its own, which is made once."""
    home = Path(request.config.cache.mkdir("tensorflow-io"))
    python, libraries = home / "venv/bin/python", home / "opencv_python_headless.libs"
    if not libraries.exists():
        run = functools.partial(subprocess.run, check=True)
        run([sys.executable, "-m", "venv", home / "venv"])
        root = Path(__file__).parents[2]
        run([python, "-m", "pip", "install", "-q", "-e", f"{root}[tensorflow-io]"])
        # A wheel that has FFmpeg 4.
        wheel = ["--no-deps", "opencv-python-headless==4.5.5.64"]
        run([python, "-m", "pip", "download", "-q", "-d", home, *wheel])
        (wheel,) = home.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(home)
    compare(python, "tensorflow-io", path, tmp_path, libraries)
