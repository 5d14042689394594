"""Parts that the workers of a Ray cluster compute, some of which die."""

import itertools
import os
import signal

import keras
import numpy as np
import pytest
from harness import close

import stzoo
from stzoo.data.decoders import open_video
from stzoo.data.reading import Reading
from stzoo.data.views import clip_views
from stzoo.inference import parts
from stzoo.inference.evaluate import evaluate
from stzoo.inference.extract import extract
from stzoo.inference.parts import Job, compute_parts, read_part

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=2, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.fixture
def videos(one_broken, monkeypatch):
    monkeypatch.setattr(parts, "PART", 3)
    return one_broken


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return stzoo.c2d_tiny(2, input_shape=(2, 32, 32, 3), width=4, depths=(1, 1))


def test_ray_writes_what_this_process_writes(cluster, model, videos, tmp_path):
    here = extract(model, videos, tmp_path / "here", views="2x1")
    there = extract(model, videos, tmp_path / "ray", views="2x1", engine="ray")
    assert there == here and len(here["failed"]) == 1
    for name in here["parts"]:
        paths, features, errors = read_part(tmp_path / "ray" / name)
        expected = read_part(tmp_path / "here" / name)
        assert (paths, errors) == (expected[0], expected[2])
        np.testing.assert_allclose(features, expected[1], rtol=1e-5)

    found = evaluate(model, videos, folder=tmp_path / "all", engine="ray")
    assert found.top1 == evaluate(model, videos).top1


def colours(calls, dies):
    """A function of clips that kills its process in such calls, whoever makes them."""

    def claim(number):
        try:
            (calls / str(number)).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def function(clips):
        if next(filter(claim, itertools.count())) in dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return clips.mean((1, 2, 3), dtype="float32")

    return function


@pytest.fixture
def means(cluster, model, videos, tmp_path):
    """Writes the mean colours of the videos, one call for each of them."""

    def means(dies):
        calls = tmp_path / f"{dies}"
        calls.mkdir()
        reading = Reading(num_workers=2)  # one worker
        job = Job(colours(calls, dies), 3, model.stzoo.clip, reading, {}, "4x2")
        return compute_parts(job, videos, tmp_path / "parts", engine="ray")

    return means


def check(manifest, model, videos, folder):
    """It is complete, in order, and without duplicates."""
    assert (manifest["videos"], len(manifest["failed"])) == (7, 1)
    parts = [read_part(folder / name) for name in manifest["parts"]]
    assert sum((part[0] for part in parts), []) == list(videos.paths)
    rows = np.concatenate([part[1] for part in parts])
    for path, row in zip(videos.paths, rows, strict=True):
        if "broken" in path:
            assert np.isnan(row).all()
            continue
        with open_video(path) as video:
            clips = clip_views(video, model.stzoo.clip, "4x2")
        close(row, clips.mean((0, 1, 2, 3), dtype="float32"))


def test_a_worker_that_is_killed_is_replaced(means, model, videos, tmp_path):
    """It dies in the middle of the second part, and again when it begins anew."""
    check(means((4, 5)), model, videos, tmp_path / "parts")
    assert not list((tmp_path / "parts").glob(".*"))


def test_what_kills_every_worker_is_an_error(means, model, videos, tmp_path):
    """The other parts are written, and a later call does the rest."""
    with pytest.raises(ChildProcessError, match="part-000001.npz begins with"):
        means(range(4, 100))
    done = [path.name for path in (tmp_path / "parts").glob("part-*")]
    assert done == ["part-000000.npz"]
    check(means(()), model, videos, tmp_path / "parts")


def test_ray_needs_a_folder(model, videos):
    with pytest.raises(ValueError, match="it needs a folder"):
        evaluate(model, videos, engine="ray")
