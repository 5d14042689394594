"""Motions match their labels, and nothing else shows the direction of time."""

import csv
import functools
import itertools
from collections import Counter

import av
import numpy as np
import pytest

from stzoo.data import motions, scenes
from stzoo.data.motions import CLASSES, REVERSED, SHAPES, render, write

PAIRS = [motion for motion in CLASSES if REVERSED[motion] != motion][::2]
OWN = [motion for motion in CLASSES if REVERSED[motion] == motion]


def test_five_pairs_and_two_that_are_their_own_reversal():
    assert len(set(CLASSES)) == 12 and len(set(SHAPES)) == 8
    assert set(REVERSED) == set(CLASSES)
    assert all(REVERSED[REVERSED[motion]] == motion for motion in CLASSES)
    assert OWN == ["shaking", "staying still"] and len(PAIRS) == 5


def test_a_video_depends_only_on_its_seed():
    frames, motion, shape = render(7)
    again, *labels = render(7)
    assert frames.shape == (21, 80, 80, 3) and frames.dtype == np.uint8
    assert labels == [motion, shape]
    np.testing.assert_array_equal(frames, again)
    np.testing.assert_array_equal(frames, render(7, motion, shape)[0])
    assert not np.array_equal(frames, render(8, motion, shape)[0])
    assert not np.array_equal(frames, render([7, 0, 1], motion, shape)[0])


def test_labels_are_drawn_from_all_combinations():
    drawn = [render(seed)[1:] for seed in range(150)]
    assert len(set(drawn)) > 65  # of 96
    assert {motion for motion, _ in drawn} == set(CLASSES)
    assert {shape for _, shape in drawn} == set(SHAPES)


def test_unknown_labels_are_named():
    with pytest.raises(ValueError, match="no motion 'flying'.*rising, falling"):
        render(0, "flying")
    with pytest.raises(ValueError, match="no shape 'dog'.*arrow"):
        render(0, "rising", "dog")


# Motion is measured from the pixels only. For one seed, every shape has the same path,
# so the videos of two shapes differ where the shape is.


@functools.cache
def outlines(seed, motion):
    """Returns where the video of each shape differs from the median, over time."""
    videos = np.stack([render(seed, motion, shape)[0] for shape in SHAPES])
    videos = videos.astype("float32").mean(-1)
    return abs(videos - np.median(videos, 0)) > 25


def measure(outlines):
    """Measures the change from start to end, in pixels, degrees, and log area.

    `way` is the distance of the whole path.
    """
    pixels = np.arange(80.0)
    seen = outlines.any(0)
    area = seen.sum((1, 2))
    x = (seen.sum(1) * pixels).sum(1) / area
    y = (seen.sum(2) * pixels).sum(1) / area

    angles = np.radians(np.arange(0, 360, 3))
    ring = np.arange(3, 12)[:, None] * np.exp(1j * angles)
    columns = (x[:, None, None] + ring.real + 0.5).astype(int).clip(0, 79)
    rows = (y[:, None, None] + ring.imag + 0.5).astype(int).clip(0, 79)
    polar = outlines[:, np.arange(len(x))[:, None, None], rows, columns]
    waves = np.fft.fft(polar)
    match = np.fft.ifft(waves[:, 1:] * waves[:, :-1].conj()).real.sum((0, 2))
    turns = (match.argmax(-1) + 60) % 120 - 60
    return {
        "right": x[-3:].mean() - x[:3].mean(),
        "up": y[:3].mean() - y[-3:].mean(),
        "growth": np.log(area[-3:].mean() / area[:3].mean()),
        "clockwise": 3 * turns.sum(),
        "way": np.hypot(np.diff(x), np.diff(y)).sum(),
    }


def named(outlines):
    """Returns the class of a video, from its measured motion."""
    is_ = measure(outlines)
    if abs(is_["clockwise"]) > 90:
        return f"turning {'' if is_['clockwise'] > 0 else 'counter-'}clockwise"
    if abs(is_["right"]) > 18:
        return "left to right" if is_["right"] > 0 else "right to left"
    if abs(is_["up"]) > 18:
        return "rising" if is_["up"] > 0 else "falling"
    if abs(is_["growth"]) > 0.8 and np.hypot(is_["right"], is_["up"]) > 4:
        return "coming out from behind" if is_["growth"] > 0 else "going behind"
    if abs(is_["growth"]) > 0.8:
        return "approaching" if is_["growth"] > 0 else "receding"
    return "shaking" if is_["way"] > 30 else "staying still"


@pytest.mark.parametrize("motion", CLASSES)
def test_a_video_shows_its_class_and_its_reversal_the_partner(motion):
    for seed in range(4):
        shown = outlines(seed, motion)
        assert named(shown) == motion, seed
        assert named(shown[:, ::-1]) == REVERSED[motion], seed


@pytest.mark.parametrize("motion", PAIRS)
def test_a_movement_and_its_reversal_have_the_same_frames(motion):
    for seed in range(3):
        forward, _, shape = render(seed, motion)
        backward = render(seed, REVERSED[motion], shape)[0]
        np.testing.assert_array_equal(forward[::-1], backward)


def test_the_scene_does_not_depend_on_the_labels():
    videos = [
        render(3, motion, shape)[0]
        for motion, shape in itertools.product([*PAIRS, *OWN], SHAPES[::3])
    ]
    same = (np.stack(videos) == videos[0]).all(0)
    assert same.mean() > 0.5


@pytest.mark.parametrize("motion", OWN)
def test_nothing_else_has_a_direction_of_time(motion):
    arrows = []
    for seed in range(60):
        frames = render([seed, 1], motion)[0].mean(-1)
        change, level = np.diff(frames, axis=0), frames - frames.mean()
        arrows.append(
            (
                frames[10:].mean() - frames[:11].mean(),
                (change[10:] ** 2).mean() - (change[:10] ** 2).mean(),
                (change**3).mean(),
                (change * level[1:] * level[:-1]).mean(),
                (change[:, :, :40].mean() - change[:, :, 40:].mean()),
                (change[:, :40].mean() - change[:, 40:].mean()),
            )
        )
    arrows = np.array(arrows)  # each changes its sign when time is reversed
    deviation = arrows.mean(0) / (arrows.std(0) / np.sqrt(len(arrows)))
    assert abs(deviation).max() < 3, deviation


def test_the_shape_stays_in_view():
    seen = []
    for seed, motion, shape in itertools.product(range(40), [*PAIRS, *OWN], SHAPES):
        rng = np.random.default_rng(seed)
        position, radius, angle, _ = scenes.trajectory(rng, motion, shape)
        turned = np.outer(radius * np.exp(1j * angle), scenes.points(shape))
        points = position[:, None] + turned
        seen.append(np.maximum(abs(points.real), abs(points.imag)) < 34.3)
    inside = np.array([video.mean(1).min() for video in seen])
    assert inside.min() > 0.7 and inside.mean() > 0.98


def test_a_shape_behind_the_box_is_hidden_and_comes_out():
    for seed, shape in itertools.product(range(20), SHAPES):
        rng = np.random.default_rng(seed)
        position, radius, angle, box = scenes.trajectory(
            rng, "coming out from behind", shape
        )
        center, length, width, turn = box
        turned = np.outer(radius * np.exp(1j * angle), scenes.points(shape))
        points = (position[:, None] + turned - center) * np.exp(-1j * turn)
        hidden = (abs(points.real) < length) & (abs(points.imag) < width * length)
        assert 0.85 < hidden[0].mean() < 0.95 and hidden[-1].mean() == 0
        assert (np.diff(hidden.mean(1)) <= 0).all()


def test_shapes_differ_from_each_other_and_from_their_rotations():
    axis = np.linspace(-1, 1, 65)
    plane = axis + 1j * axis[:, None]

    def mask(shape, plane):
        table = scenes.table(shape)
        row, column = (
            ((part + 1.2) * 128).astype(int).clip(0, len(table) - 1)
            for part in (plane.imag, plane.real)
        )
        return table[row, column] < 0

    turns = np.exp(1j * np.radians(np.arange(0, 360, 10)))
    for first, second in itertools.product(SHAPES, SHAPES):
        still = mask(first, plane)
        for seen in (plane, plane.conj()):
            turned = [mask(second, seen * turn) for turn in turns]
            overlap = np.array([(still & t).sum() / (still | t).sum() for t in turned])
            if first != second:
                assert overlap.max() < 0.8, (first, second, overlap.max())
            elif seen is plane:
                assert overlap[4:-3].max() < 0.8, (first, overlap)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("motions") / "new" / "folder"
    assert write(folder, 97, seed=5) == folder / "labels.csv"
    return folder


def rows(folder):
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decode(path):
    with av.open(str(path)) as container:
        return [
            (frame.to_ndarray(format="rgb24"), frame.key_frame)
            for frame in container.decode(video=0)
        ]


def test_the_folder_is_complete(folder):
    written = rows(folder)
    assert [row["path"] for row in written] == [f"{i:05d}.mp4" for i in range(97)]
    files = {path.name for path in folder.iterdir()}
    assert files == {row["path"] for row in written} | {
        "labels.csv",
        "motions.txt",
        "shapes.txt",
    }
    assert tuple((folder / "motions.txt").read_text().splitlines()) == CLASSES
    assert tuple((folder / "shapes.txt").read_text().splitlines()) == SHAPES


def test_labels_are_balanced_and_independent(folder):
    labels = [(row["motion"], row["shape"]) for row in rows(folder)]
    assert Counter(labels[:96]) == Counter(itertools.product(CLASSES, SHAPES))
    for start in range(0, 96, 12):
        assert {motion for motion, _ in labels[start : start + 12]} == set(CLASSES)


def test_videos_are_h264_and_show_what_was_rendered(folder):
    for row in rows(folder)[::19]:
        with av.open(str(folder / row["path"])) as container:
            (stream,) = container.streams
            assert stream.codec_context.name == "h264"
            assert (stream.frames, stream.average_rate) == (21, 12)
            assert (stream.height, stream.width) == (80, 80)
        decoded = np.stack([image for image, _ in decode(folder / row["path"])])
        number = int(row["path"][:5]) // 2
        frames = render([5, number], row["motion"], row["shape"])[0].astype(float)
        error = abs(frames - decoded).mean()
        assert 0.5 < error < 10, row


def test_compression_has_no_direction_of_time(folder):
    written = rows(folder)[:24]
    for one, other in zip(written[::2], written[1::2], strict=True):
        assert one["shape"] == other["shape"]
        forward, backward = decode(folder / one["path"]), decode(folder / other["path"])
        assert all(key for _, key in forward + backward)
        if REVERSED[one["motion"]] == other["motion"]:
            for (image, _), (same, _) in zip(forward, backward[::-1], strict=True):
                np.testing.assert_array_equal(image, same)
        else:
            assert {one["motion"], other["motion"]} == set(OWN)


def test_threads_and_count_change_nothing(folder, tmp_path):
    write(tmp_path, 5, seed=5, threads=1)
    assert rows(tmp_path) == rows(folder)[:5]
    for row in rows(tmp_path):
        path = row["path"]
        assert (tmp_path / path).read_bytes() == (folder / path).read_bytes()


def test_a_count_of_zero_is_refused(tmp_path):
    with pytest.raises(ValueError, match="count=0"):
        write(tmp_path / "new", 0, seed=1)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("motion", motions.CLASSES)
def test_the_mask_covers_the_shape(motion):
    """Another shape changes only pixels inside the two masks."""
    scene = [5, motions.CLASSES.index(motion)]
    first, second = (motions.render(scene, motion, s)[0] for s in ("key", "dome"))
    masks = [motions.mask(scene, motion, shape) for shape in ("key", "dome")]
    changed = (first != second).any(-1)
    assert masks[0].any((1, 2)).mean() > 0.9
    either = masks[0] | masks[1]
    for axis in (1, 2):  # and one partly covered pixel around it
        either = either | np.roll(either, 1, axis) | np.roll(either, -1, axis)
    assert (changed & ~either).mean() < 0.002
    assert changed[masks[0] ^ masks[1]].mean() > 0.9
