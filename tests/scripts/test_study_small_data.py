import csv

import numpy as np
import pytest
import study_small_data as study

from stzoo.data.video import Video


def test_skewed_data_has_few_videos_of_the_last_class():
    shown, labels = study.DATA["skewed"].deal(20, np.random.default_rng(0))
    counts = np.bincount(shown)
    assert counts[0] == 20 and counts[-1] == 2
    assert (np.diff(counts) <= 0).all()
    np.testing.assert_array_equal(shown, labels)


def test_a_fifth_of_noisy_labels_are_wrong():
    shown, labels = study.DATA["noisy"].deal(10, np.random.default_rng(0))
    assert np.bincount(shown).tolist() == [10] * 12
    assert np.sum(shown != labels) == 24
    assert labels.min() >= 0 and labels.max() < 12


def test_inverted_videos_are_slow_and_dark_where_the_motion_is_bright():
    frames = study.show_inverted((1, 0, 0), "rising")
    expected = 215 - 0.7 * study.show_motion((1, 0, 0), "rising")[5:16]
    for shown in (frames[::2], frames[1::2]):
        errors = shown - expected[: len(shown)]
        np.testing.assert_allclose(errors.std(), 12, atol=1)


def test_what_the_videos_of_textures_show():
    def change(frames):
        return np.abs(np.diff(frames.astype(float), axis=0)).mean()

    seed = (1, 0, 0)
    speeds = [change(study.show_speed(seed, name)) for name in study.SPEEDS]
    assert speeds == sorted(speeds) and speeds[2] > 1.5 * speeds[0]
    light = [study.show_flicker(seed, name).mean((1, 2, 3)) for name in study.FLICKERS]
    assert np.ptp(light[0]) < 1 and np.ptp(light[1]) > 20
    rises = [np.abs(np.diff(one)).mean() for one in light]
    assert rises == sorted(rises)
    fine, medium, coarse = (
        np.abs(np.diff(study.show_texture(seed, name).astype(float), axis=2)).mean()
        for name in study.TEXTURES
    )
    assert fine > medium > coarse


@pytest.mark.parametrize("name", ["speed", "skewed"])
def test_a_run_is_measured_once(tmp_path, name):
    command = ["--out", str(tmp_path), "--models", "tsm_tiny", "--data", name]
    command += ["--videos", "1", "--unseen", "6", "--batches", "2"]
    command += ["--set", "epochs=1", "--set", "min_steps=0"]
    study.main(command)
    study.main(command)
    with (tmp_path / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["data"] == name and row["changed"] == "epochs=1 min_steps=0"
    assert 0 <= float(row["accuracy"]) <= 1
    videos = sorted((tmp_path / f"test_{name}").glob("*.mp4"))
    assert len(videos) == 6
    with Video(videos[0]) as video:
        assert len(video) == 21
