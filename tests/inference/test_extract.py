import hashlib
import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from harness import close

import stzoo
from stzoo.data import datasets
from stzoo.data.decoders import open_video
from stzoo.data.views import clip_views
from stzoo.inference import parts
from stzoo.inference.extract import extract
from stzoo.inference.parts import read_part
from stzoo.writer import NEW


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return stzoo.c2d_tiny(input_shape=(2, 32, 32, 3), width=4, depths=(1, 1))


@pytest.fixture
def videos(one_broken, monkeypatch):
    monkeypatch.setattr(parts, "PART", 3)
    return one_broken


def read(folder, manifest):
    parts = [read_part(folder / name) for name in manifest["parts"]]
    paths = [path for part in parts for path in part[0]]
    errors = [error for part in parts for error in part[2]]
    return paths, np.concatenate([part[1] for part in parts]), errors


@pytest.mark.parametrize(("format", "views"), [("npz", "2x3"), ("parquet", "1x1")])
def test_features_are_those_of_each_video(model, videos, tmp_path, format, views):
    manifest = extract(model, videos, tmp_path, views=views, format=format)
    paths, features, errors = read(tmp_path, manifest)
    assert paths == list(videos.paths)
    assert [bool(error) for error in errors] == ["broken" in path for path in paths]
    assert [row["video"] for row in manifest["failed"]] == [
        path for path in paths if "broken" in path
    ]
    network = keras.Model(model.input, model.get_layer("avgpool").output)
    for path, row in zip(paths, features, strict=True):
        if "broken" in path:
            assert np.isnan(row).all()
            continue
        with open_video(path) as video:
            clips = clip_views(video, model.stzoo.clip, views)
        expected = np.mean([network.predict_on_batch(c[None])[0] for c in clips], 0)
        close(row, expected)


@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_the_files_of_an_extraction_hold_all_of_it(model, videos, tmp_path, format):
    manifest = extract(model, videos, tmp_path, views="2x1", format=format)
    parts = [f"part-00000{number}.{format}" for number in range(3)]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {*parts, "manifest.json", "run.json"}
    assert json.loads((tmp_path / "manifest.json").read_text("utf-8")) == manifest
    assert manifest.keys() == {"parts", "videos", "failed"}
    assert (manifest["parts"], manifest["videos"]) == (parts, 7)
    with pytest.raises(ValueError) as error, open_video(videos.paths[3]):
        pass
    failed = [{"video": videos.paths[3], "error": str(error.value)}]
    assert manifest["failed"] == failed

    weights = b"".join(np.asarray(value, "<f4").tobytes() for value in variables(model))
    assert json.loads((tmp_path / "run.json").read_text("utf-8")) == {
        "layer": "avgpool",
        "format": format,
        "model": "c2d_tiny",
        "weights": hashlib.sha256(weights).hexdigest(),
        "views": "2x1",
        "videos": 7,
        "list": hashlib.sha256("\n".join(videos.paths).encode()).hexdigest(),
        "part": 3,
    }
    sizes = []
    for number, name in enumerate(parts):
        paths, features, errors = read_part(tmp_path / name)
        assert paths == list(videos.paths[3 * number : 3 * number + 3])
        assert features.dtype == np.float32
        assert features.shape == (len(paths), 4 * 4 * 2)
        assert errors == [failed[0]["error"] if "broken" in p else "" for p in paths]
        sizes.append(len(paths))
    assert sizes == [3, 3, 1]


def variables(model):
    """The weights before the head, of floats and of integers."""
    return [
        keras.ops.convert_to_numpy(variable)
        for variable in model.weights
        if not variable.path.startswith("fc/")
    ]


@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_names_that_are_not_utf_8(model, tmp_path, motion_folder, format):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    root.mkdir()
    good, bad = (root / os.fsdecode(name) for name in (b"a\xe9.mp4", b"b\xe9.mp4"))
    good.write_bytes(next(motion_folder.glob("**/*.mp4")).read_bytes())
    bad.write_bytes(b"nothing" * 99)
    videos = datasets.read(root)
    manifest = extract(model, videos, tmp_path / "x", format=format)
    assert json.loads((tmp_path / "x" / "manifest.json").read_text()) == manifest
    paths, features, errors = read(tmp_path / "x", manifest)
    assert paths == [str(good), str(bad)] == list(videos.paths)
    assert not errors[0] and errors[1].startswith(f"{bad} cannot be read as a video")
    assert [row["video"] for row in manifest["failed"]] == [str(bad)]
    assert np.isfinite(features[0]).all() and np.isnan(features[1]).all()


def test_maps_are_averaged(model, videos, tmp_path):
    whole = extract(model, videos, tmp_path / "a", layer="layer2_0_relu")
    pooled = extract(model, videos, tmp_path / "b")
    close(
        np.nan_to_num(read(tmp_path / "a", whole)[1]),
        np.nan_to_num(read(tmp_path / "b", pooled)[1]),
    )


def test_shards_together_are_all_of_it(model, videos, tmp_path):
    assert extract(model, videos, tmp_path, shard=(1, 2)) is None
    assert [path.name for path in tmp_path.glob("part-*")] == ["part-000001.npz"]
    manifest = extract(model, videos, tmp_path, shard=(0, 2))
    alone = extract(model, videos, tmp_path / "alone")
    assert manifest == alone
    close(
        np.nan_to_num(read(tmp_path, manifest)[1]),
        np.nan_to_num(read(tmp_path / "alone", alone)[1]),
    )


@pytest.mark.slow
def test_after_a_kill_the_rest_is_done(model, videos, tmp_path):
    """The process dies while it writes its second part."""
    code = f"""
import os, signal
import keras, stzoo
from stzoo.data.datasets import Videos
from stzoo.inference import parts
from stzoo.inference.extract import extract
parts.PART = 3
keras.utils.set_random_seed(0)
model = stzoo.c2d_tiny(input_shape=(2, 32, 32, 3), width=4, depths=(1, 1))
replace = os.replace
def kill(source, target):
    if "part-000001" in str(target):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = kill
extract(model, Videos({videos.paths!r}), {str(tmp_path)!r})
"""
    killed = subprocess.run([sys.executable, "-c", code], env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*.npz")}
    assert [path.name for path in done] == ["part-000000.npz"]
    manifest = extract(model, videos, tmp_path)
    assert len(manifest["parts"]) == 3
    paths, features, _ = read(tmp_path, manifest)
    assert paths == list(videos.paths) and len(features) == len(paths)
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())


def test_after_an_interruption_the_rest_is_done(model, videos, tmp_path):
    def interrupted(parts):
        yield parts[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(model, videos, tmp_path, progress=interrupted)
    (tmp_path / NEW).mkdir()
    (tmp_path / NEW / "part-000001.npz").write_bytes(b"half")  # as a kill leaves it
    first = (tmp_path / "part-000000.npz").stat().st_mtime_ns
    paths, features, _ = read(tmp_path, extract(model, videos, tmp_path))
    assert paths == list(videos.paths) and len(features) == len(paths)
    assert (tmp_path / "part-000000.npz").stat().st_mtime_ns == first
    assert not list(tmp_path.glob(".*"))


def test_another_extraction_is_not_mixed_in(model, videos, tmp_path):
    extract(model, videos, tmp_path)
    with pytest.raises(ValueError, match="with different views"):
        extract(model, videos, tmp_path, views="2x1")
    other = stzoo.c2d_tiny(input_shape=(2, 32, 32, 3), width=4, depths=(1, 1))
    with pytest.raises(ValueError, match="with different weights"):
        extract(other, videos, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(layer="pool9"), "has no layer 'pool9'. Its last layers"),
        (dict(format="csv"), '"npz" or "parquet"'),
        (dict(shard=(2, 2)), "shard must be the index of a shard"),
    ],
)
def test_what_cannot_be_done_writes_nothing(model, videos, tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        extract(model, videos, tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()
