"""Paths, URLs, and names with arbitrary bytes."""

import json
import os

import fsspec
import pytest

from stzoo.data import datasets, files


@pytest.mark.parametrize(
    ("path", "folder", "name"),
    [
        ("a/b.mp4", "a", "b.mp4"),
        ("s3://bucket/a/b.mp4", "s3://bucket/a", "b.mp4"),
        ("zip://a/b.mp4::s3://bucket/c.zip", "zip://a::s3://bucket/c.zip", "b.mp4"),
        ("zip://b.mp4::c.zip", "zip://::c.zip", "b.mp4"),
        ("simplecache::s3://a/b.mp4", "simplecache::s3://a", "b.mp4"),
    ],
)
def test_paths_are_split_and_joined(path, folder, name):
    assert files.split(path) == (folder, name)
    assert files.join(folder, name) == path
    assert files.is_video(path) and not files.is_video(folder)


@pytest.mark.parametrize("text", ["a.mp4", "ä 中.mp4", os.fsdecode(b"x\xe9.mp4")])
def test_every_name_can_be_written_as_json(text):
    written = files.printable(json.dumps(text, ensure_ascii=False))
    assert json.loads(written.encode()) == text
    assert text.isprintable() == (files.printable(text) == text)


def test_a_list_of_names_that_are_not_utf_8(tmp_path):
    name = os.fsdecode(b"x\xe9.mp4")
    (tmp_path / name).write_bytes(b"")
    (tmp_path / "y.mp4").write_bytes(b"")
    data = b"\xef\xbb\xbfx\xe9.mp4,caf\xe9\ny.mp4,b\n"
    (tmp_path / "list.csv").write_bytes(data)
    with pytest.raises(
        ValueError, match="list.csv, line 1: the byte 0xe9 is not UTF-8"
    ):
        datasets.read(tmp_path / "list.csv")
    with fsspec.open("memory://names/list.csv", "wb") as file:
        file.write(data)
    with files.open_text("memory://names/list.csv") as file:
        assert file.readline() == os.fsdecode(b"x\xe9.mp4,caf\xe9\n")
