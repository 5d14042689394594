"""Optical flow of known motion, and its cache."""

import dataclasses
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import stzoo
from stzoo.cli import main
from stzoo.data import flow, motions
from stzoo.data.datasets import read
from stzoo.data.decoders import open_video
from stzoo.data.frames import as_video, resize
from stzoo.data.pipeline import clips, steps
from stzoo.data.sampling import dense, segments
from stzoo.data.transforms import Augment
from stzoo.data.video import Video
from stzoo.data.views import clip_views, training_clip
from stzoo.weights.config import ClipConfig

TWO = {"mean": (123, 117, 104, 128, 128), "std": (1,) * 5}
CLIP = ClipConfig(6, 3, 48, 48, 56, snippet=3, **TWO)


def texture(seed=0):
    """Returns a smooth picture of 96x96, which is larger than the frames."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3)).astype("uint8")
    return np.asarray(Image.fromarray(noise).resize((96, 96), Image.BICUBIC))


def moving(x, y, frames=4, size=56):
    """Returns frames in which the picture moves to the right and down, in pixels."""
    start = 20 - frames // 2 * np.array((y, x))
    picture = texture()
    corners = [
        start - t * np.array((y, x)) + 2 * (frames // 2) * np.array((y, x))
        for t in range(frames)
    ]
    return np.stack([picture[r : r + size, c : c + size] for r, c in corners])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STZOO_FLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    monkeypatch.delenv("STZOO_FLOW_CACHE", raising=False)


@pytest.mark.parametrize(("x", "y"), [(2, 0), (0, 3), (-3, 1)])
def test_flow_is_to_the_right_and_down(x, y):
    found = flow.optical_flow(moving(x, y))
    assert found.dtype == np.uint8 and found.shape == (3, 56, 56, 2)
    pixels = (found[:, 16:40, 16:40].astype(float) - 128) * 20 / 127
    assert np.abs(pixels - (x, y)).mean() < 0.2


def test_quantize_clips_and_rounds():
    given = [0, 20, -20, 25, -np.inf, 20 / 127, -0.07]
    assert flow.quantize(given).tolist() == [128, 255, 1, 255, 1, 129, 128]


def test_still_frames_have_no_flow():
    still = np.repeat(texture()[None], 3, axis=0)
    assert (flow.optical_flow(still) == 128).all()
    assert (flow.optical_flow(np.zeros((3, 64, 80, 3), "uint8")) == 128).all()


def test_a_mirrored_video_has_the_mirrored_flow():
    clip = clip_views(moving(2, 1, 8), CLIP)[0]
    mirrored = flow.mirror(clip)
    np.testing.assert_array_equal(mirrored[..., :3], clip[:, :, ::-1, :3])
    x, y = (np.moveaxis(c[..., 3:], -1, 0).astype(int) for c in (clip, mirrored))
    np.testing.assert_array_equal(y[0], 256 - x[0][..., ::-1])
    np.testing.assert_array_equal(y[1], x[1][..., ::-1])
    assert y[0].mean() < 128 < x[0].mean()
    np.testing.assert_array_equal(flow.mirror(mirrored), clip)
    np.testing.assert_array_equal(flow.mirror(clip[..., 3:]), mirrored[..., 3:])
    np.testing.assert_array_equal(flow.mirror(clip[..., :3]), mirrored[..., :3])


def test_views_are_frames_with_their_flow():
    frames = motions.render(3, "rising")[0]
    views = clip_views(frames, CLIP, "2x1")
    assert views.shape == (2, 6, 48, 48, 5) and views.dtype == np.uint8
    small = resize(frames, 56)
    motion = flow.optical_flow(small)
    for view, numbers in zip(views, dense(20, 6, 3, 2, snippet=3), strict=True):
        np.testing.assert_array_equal(view[..., :3], small[numbers, 4:52, 4:52])
        np.testing.assert_array_equal(view[..., 3:], motion[numbers, 4:52, 4:52])
    alone = ClipConfig(6, 3, 48, 48, 56, snippet=3, mean=(128, 128), std=(1, 1))
    np.testing.assert_array_equal(clip_views(frames, alone, "2x1"), views[..., 3:])


@pytest.mark.parametrize("channels", [slice(0, 3), slice(3, 5), slice(0, 5)])
def test_existing_flow_is_not_computed_again(channels, monkeypatch):
    frames = moving(2, 1, 8)
    clip = dataclasses.replace(CLIP, mean=CLIP.mean[channels], std=CLIP.std[channels])
    known = flow.FlowVideo(as_video(frames[:8]), 56).read(np.arange(7))
    views = clip_views(frames[: 8 if clip.uses_flow else 7], clip)
    monkeypatch.setattr(flow, "optical_flow", None)
    np.testing.assert_array_equal(clip_views(known, clip), views)


@pytest.mark.parametrize("method", ["dis", "tvl1"])
def test_flow_is_computed_as_the_model_says(method, monkeypatch):
    methods, computed = set(), flow.optical_flow

    def optical_flow(frames, method):
        methods.add(method)
        return computed(frames)

    monkeypatch.setattr(flow, "optical_flow", optical_flow)
    clip_views(moving(2, 1, 8), dataclasses.replace(CLIP, flow=method))
    assert methods == {method}


@pytest.mark.parametrize("wanted", [[0, 2], [0, 1, 3, 4, 8], [7]])
def test_flow_of_frames_with_gaps(wanted):
    frames = np.concatenate([moving(2, 0, 5), moving(0, 3, 5)])
    found = flow.FlowVideo(as_video(frames[:10]), 56).read(wanted)
    pairs = [flow.optical_flow(frames[i : i + 2])[0] for i in wanted]
    np.testing.assert_array_equal(found[..., 3:], pairs)
    np.testing.assert_array_equal(found[..., :3], frames[wanted])


def test_training_mirrors_and_resizes_flow():
    frames = motions.render(3, "left to right")[0]
    sides, seen = set(), set()
    augment = Augment((56, 70), pairs={0: 1}, jitter=0.2)
    clip = ClipConfig(6, 3, None, None, 56, snippet=3, **TWO)
    for seed in range(12):
        found, label = training_clip(
            frames, clip, np.random.default_rng(seed), augment, 0
        )
        assert found.shape[-1] == 5
        x = found[..., 3].astype(int) - 128
        strong = x[np.abs(x) > 6]
        assert (strong.mean() > 0) == (label == 0)  # to the left if mirrored
        sides.add(found.shape[1]), seen.add(label)
    assert len(sides) > 3 and seen == {0, 1}


@pytest.mark.parametrize("sampling", ["dense", "segments"])
@pytest.mark.parametrize("total", [1, 2, 3, 40])
def test_snippets_follow_each_other(sampling, total):
    indices = {
        "dense": dense(total, 6, 10, 2, snippet=3),
        "segments": segments(total, 6, 2, snippet=3),
    }[sampling]
    assert indices.shape == (2, 6)
    assert indices.min() >= 0 and indices.max() < total
    if total == 40:
        starts = indices.reshape(2, 2, 3)[..., :1]
        np.testing.assert_array_equal(
            indices.reshape(2, 2, 3) - starts, [[[0, 1, 2]] * 2] * 2
        )
        if sampling == "dense":
            assert (np.diff(starts[..., 0]) == 10).all()


def test_a_video_of_one_frame(tmp_path):
    motions.save(tmp_path / "one.mp4", motions.render(0)[0][:1])
    with Video(tmp_path / "one.mp4") as video:
        (view,) = clip_views(video, CLIP)
    assert (view[..., 3:] == 128).all() and (view == view[:1]).all()
    with Video(tmp_path / "one.mp4") as video:
        assert training_clip(video, CLIP, np.random.default_rng(0))[0].shape == (
            6,
            48,
            48,
            5,
        )


def test_frames_that_are_too_small():
    with pytest.raises(ValueError, match="flow between frames of 8x9.*needs 12x12"):
        flow.optical_flow(np.zeros((2, 8, 9, 3), "uint8"))


def test_without_opencv_the_error_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r'pip install "stzoo\[flow\]"'):
        flow.optical_flow(np.zeros((2, 16, 16, 3), "uint8"))


def test_tvl1_needs_the_contributed_modules(monkeypatch):
    import cv2

    monkeypatch.delattr(cv2, "optflow", raising=False)
    with pytest.raises(ImportError, match="opencv-contrib-python-headless"):
        flow.optical_flow(np.zeros((2, 16, 16, 3), "uint8"), "tvl1")


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video.mp4"
    motions.save(path, motions.render(5, "falling")[0])
    return path


def views(path, clip=CLIP):
    with open_video(path) as video:
        return clip_views(video, clip, "2x1")


def count_flow(monkeypatch):
    """Counts how often flow is computed."""
    calls, computed = [], flow.optical_flow
    monkeypatch.setattr(
        flow, "optical_flow", lambda *args: calls.append(args) or computed(*args)
    )
    return calls


def test_the_cache_changes_nothing(video, cache, monkeypatch):
    with monkeypatch.context() as none:
        none.delenv("STZOO_FLOW_CACHE")
        expected = views(video)
    monkeypatch.setattr(flow, "CHUNK", 7)
    np.testing.assert_array_equal(views(video), expected)
    calls = count_flow(monkeypatch)
    np.testing.assert_array_equal(views(video), expected)
    assert not calls and len(list(cache.iterdir())) == 1


def test_the_cache_depends_on_the_content(video, cache, tmp_path, monkeypatch):
    first = views(video)
    calls = count_flow(monkeypatch)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(video.read_bytes())
    np.testing.assert_array_equal(views(copy), first)
    assert not calls, "the same video at another path"
    motions.save(video, motions.render(6, "rising")[0])
    assert (views(video)[..., 3:] != first[..., 3:]).any()
    views(video, ClipConfig(6, 3, 48, 48, 64, snippet=3, **TWO))
    assert len(list(cache.iterdir())) == 3, "another video, another size"


def test_a_folder_of_frames_is_cached(cache, tmp_path, monkeypatch):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(motions.render(5)[0][:8]):
        Image.fromarray(frame).save(folder / f"{number:05}.png")
    first = views(folder)
    calls = count_flow(monkeypatch)
    np.testing.assert_array_equal(views(folder), first)
    assert not calls


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_a_damaged_file_is_rewritten(video, cache, caplog, damage):
    expected = views(video)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    np.testing.assert_array_equal(views(video), expected)
    assert "is damaged" in caplog.text
    assert len(file.read_bytes()) == len(whole)


def test_a_killed_writer_leaves_no_readable_file(video, cache):
    expected = views(video)
    (file,) = cache.iterdir()
    file.unlink()
    code = f"""
import os, signal
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
from stzoo.data.decoders import open_video
from stzoo.data.views import clip_views
from stzoo.weights.config import ClipConfig
with open_video({str(video)!r}) as video:
    sizes = dict(snippet=3, mean=(0,) * 5, std=(1,) * 5)
    clip_views(video, ClipConfig(6, 3, 48, 48, 56, **sizes))
"""
    killed = subprocess.run([sys.executable, "-c", code], env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL
    assert not file.exists() and list(cache.glob(".writ*"))
    np.testing.assert_array_equal(views(video), expected)
    assert list(cache.iterdir()) == [file]


def test_from_files_to_fit_and_labels(
    motion_folder, video, cache, tmp_path, monkeypatch
):
    """All steps of training and prediction with a two-stream model."""
    keras.utils.set_random_seed(0)
    small = {"backbone": "vgg16", "width": 4, "dim": 16, "length": 2}
    model = stzoo.stpn_tiny(classes=2, input_shape=(4, 32, 32, 5), **small)
    train = read(motion_folder)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(
        clips(train, model.stzoo.clip, 2, train=True),
        steps_per_epoch=steps(train, 2),
        epochs=2,
        shuffle=False,
        verbose=0,
    )
    assert len(list(cache.iterdir())) == 6
    stzoo.save(model, tmp_path / "mine", labels=train.classes)
    arguments = ["predict", str(video), "--model", str(tmp_path / "mine")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and train.classes[0] in result.stdout
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "cv2", None)
        without.delenv("STZOO_FLOW_CACHE")  # the flow is already in the cache
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1 and "stzoo[flow]" in result.stderr
    answers = stzoo.predict(stzoo.load(tmp_path / "mine"), video, views="2x1")
    assert {label for label, _ in answers} == set(train.classes)
    assert abs(sum(share for _, share in answers) - 1) < 1e-5
