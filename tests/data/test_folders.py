"""Tests which videos are found in folders."""

import logging
from pathlib import Path

import pytest
from harness import names, touch

from stzoo.data.datasets import read
from stzoo.data.folders import is_folder_of_frames, videos_within


def test_a_folder_for_each_class(tmp_path):
    touch(
        tmp_path, "run/b.mp4", "run/a.avi", "fly/c.WEBM", "run/.DS_Store", ".git/x.mp4"
    )
    touch(tmp_path, "fly/frames/00001.jpg", "fly/frames/00002.jpg")
    videos = read(tmp_path)
    assert videos.classes == ("fly", "run")
    assert names(videos, tmp_path) == [
        "fly/c.WEBM",
        "fly/frames",
        "run/a.avi",
        "run/b.mp4",
    ]
    assert videos.labels == (0, 0, 1, 1) and len(videos) == 4
    assert read(str(tmp_path), classes=["run", "fly"]).labels == (1, 1, 0, 0)


def test_hidden_files_are_ignored(tmp_path, caplog):
    """macOS writes `._a.mp4` next to `a.mp4` on disks of other systems."""
    touch(tmp_path, "run/a.mp4", "run/._a.mp4", "run/.cache/1.png", "._run/b.mp4")
    videos = read(tmp_path)
    assert (names(videos, tmp_path), videos.labels) == (["run/a.mp4"], (0,))
    assert (videos.classes, videos.skipped) == (("run",), ())
    touch(tmp_path, "alone/a.mp4", "alone/._a.mp4", "alone/.frames/1.png")
    assert names(read(tmp_path / "alone"), tmp_path) == ["alone/a.mp4"]
    assert not caplog.messages


def test_a_folder_with_videos_only(tmp_path):
    touch(tmp_path, "b.mp4", "a.mp4", "frames/1.png", "notes.txt")
    videos = read(tmp_path)
    assert names(videos, tmp_path) == ["a.mp4", "b.mp4", "frames"]
    assert videos.labels == () and videos.classes == ()


def test_folders_with_problems(tmp_path, caplog):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path / "nowhere")
    touch(tmp_path, "run/a.mp4", "run/notes.txt", "labels.txt")
    (tmp_path / "fly").mkdir()
    with pytest.raises(ValueError, match="fly: this folder has no videos"):
        read(tmp_path)
    with caplog.at_level(logging.WARNING, "stzoo"):
        videos = read(tmp_path, skip=True)
    assert "2 files are not videos: labels.txt, run/notes.txt" in caplog.text
    assert names(videos, tmp_path) == ["run/a.mp4"]
    touch(tmp_path, "swim/a.mp4")
    with pytest.raises(ValueError, match="swim: 'swim' is not one of the 2 classes"):
        (tmp_path / "fly").rmdir()
        read(tmp_path, classes=["run", "fly"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no videos"):
        read(tmp_path / "empty")


@pytest.mark.parametrize(
    "folders", [("1", "2", "3"), ("100", "250"), ("01", "1"), ("2", "10"), ("0", "run")]
)
def test_names_of_folders_are_classes(tmp_path, folders):
    touch(tmp_path, *[f"{name}/a.mp4" for name in folders])
    videos = read(tmp_path)
    assert videos.classes == folders  # in the order of the numbers
    for path, label in zip(videos.paths, videos.labels, strict=True):
        assert Path(path).parent.name == folders[label]
    with pytest.raises(ValueError, match="is not one of the 3 classes: fly, run, swim"):
        read(tmp_path, classes=["fly", "run", "swim"])


SIDECARS = ("0.jpg", "0.thm", "1.json", "1.srt", "poster.PNG")


def test_pictures_next_to_videos_are_ignored(tmp_path, caplog):
    for name in ("run", "walk"):
        touch(tmp_path, *[f"{name}/{n}.mp4" for n in (0, 1)])
        touch(tmp_path, *[f"{name}/{sidecar}" for sidecar in SIDECARS])
    touch(tmp_path, "poster.jpg", "walk/frames/1.jpg", "walk/frames/notes.txt")
    with caplog.at_level(logging.INFO, "stzoo"):
        videos = read(tmp_path)
    assert names(videos, tmp_path) == [
        *("run/0.mp4", "run/1.mp4", "walk/0.mp4", "walk/1.mp4", "walk/frames"),
    ]
    assert videos.labels == (0, 0, 1, 1, 1) and videos.classes == ("run", "walk")
    ignored, understood = caplog.messages
    assert "11 files are not videos: poster.jpg, run/0.jpg, run/0.thm" in ignored
    assert understood == (
        f"{tmp_path}: 5 videos (1 of them folders of frames) of 2 classes. Each folder "
        "is a class."
    )


def test_a_folder_of_frames_has_images_and_no_videos_or_folders(tmp_path):
    touch(tmp_path, "x/1.jpg", "x/notes.txt", "y/1.jpg", "y/a.mp4", "z/1.jpg", "z/w/b")
    found = [name for name in "xyz" if is_folder_of_frames(str(tmp_path / name))]
    assert found == ["x"] and not is_folder_of_frames(str(tmp_path / "nowhere"))


def test_class_folders_of_frame_folders(tmp_path):
    touch(tmp_path, "run/x/1.jpg", "run/poster.jpg", "walk/y/1.jpg", "walk/z/1.jpg")
    videos = read(tmp_path)
    assert names(videos, tmp_path) == ["run/x", "walk/y", "walk/z"]
    assert videos.labels == (0, 1, 1) and videos.classes == ("run", "walk")


def test_one_folder_of_frames(tmp_path):
    touch(tmp_path, "all/x/1.jpg", "all/x/2.jpg", "all/notes.txt")
    videos = read(tmp_path / "all")
    assert names(videos, tmp_path) == ["all/x"] and videos.labels == ()
    with pytest.raises(ValueError, match="x has only images.* Pass its parent folder"):
        read(tmp_path / "all" / "x")


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (("run/a.mp4", "b.mp4"), r"has videos \(b.mp4\) next to folders .* \(run\)"),
        (("train/run/a.mp4",), "train: the folder run has a.mp4. .* pass .*train"),
        (("run/a.mp4", "run/x/y/1.jpg"), "run: the folder x has y"),
        (("run/a.mp4", "run/x/notes.txt"), "run: the folder x has no frames"),
        (("run/a.mp4", "walk/1.jpg"), "walk: this folder has no videos, only images"),
        (("run/a.mp4", "walk/x.txt"), "walk: this folder has no videos"),
    ],
)
def test_folders_with_an_unknown_structure_are_refused(tmp_path, there, message):
    touch(tmp_path, *there)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_skip_ignores_folders_with_an_unknown_structure(tmp_path):
    touch(tmp_path, "run/a.mp4", "walk/1.jpg", "run/x/y/1.jpg", "fly/train/b.mp4")
    videos = read(tmp_path, skip=True)
    assert names(videos, tmp_path) == ["run/a.mp4"] and videos.classes == ("run",)
    assert len(videos.skipped) == 3


def test_videos_within_a_folder_and_its_subfolders(tmp_path):
    touch(tmp_path, "b.mp4", "a.avi", ".hidden.mp4", "notes.txt", "c/d/e.mkv")
    touch(tmp_path, ".git/f.mp4", "frames/1.jpg", "frames/2.jpg", "empty/notes.txt")
    found = [path.removeprefix(f"{tmp_path}/") for path in videos_within(tmp_path)]
    assert found == ["a.avi", "b.mp4", "c/d/e.mkv", "frames"]
