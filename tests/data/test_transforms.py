import tracemalloc

import av
import numpy as np
import pytest
from PIL import Image

from stzoo.data import motions
from stzoo.data.mirroring import mirror_pairs
from stzoo.data.transforms import (
    Augment,
    Views,
    clip_views,
    crop,
    jitter,
    resize,
    scaled_crop,
    training_clip,
)
from stzoo.data.video import Video, scaled_size
from stzoo.weights.config import Clip


@pytest.fixture
def frames():
    """Forty frames: red is the row, green the column, blue the number of the frame."""
    red, green, blue = np.meshgrid(
        np.arange(48), np.arange(64), np.arange(40), indexing="ij"
    )
    array = np.stack([red, green, blue], axis=-1).astype(np.uint8)
    return np.ascontiguousarray(array.transpose(2, 0, 1, 3))


def corner(view):
    """First row, first column, and the frames, as the picture tells them."""
    return view[0, 0, 0, 0], view[0, 0, 0, 1], view[:, 0, 0, 2].tolist()


def test_one_view_is_the_middle(frames):
    clip = Clip(frames=4, stride=3, height=32, width=32, short_side=48)
    views = clip_views(frames, clip)
    assert views.shape == (1, 4, 32, 32, 3) and views.dtype == np.uint8
    assert corner(views[0]) == (8, 16, [14, 17, 20, 23])


def test_thirty_views(frames):
    clip = Clip(frames=4, stride=3, height=48, width=48, short_side=48)
    views = clip_views(frames, clip, "10x3")
    assert views.shape == (30, 4, 48, 48, 3)
    starts = [int(count * 2.9 + 1.45) for count in range(10)]
    for count, view in enumerate(views):
        first = starts[count // 3]
        expected = (0, [0, 8, 16][count % 3], [first, first + 3, first + 6, first + 9])
        assert corner(view) == expected
    upright = clip_views(frames.transpose(0, 2, 1, 3), clip, "1x3")
    assert [view[0, 0, 0, 1] for view in upright] == [0, 8, 16]


def test_views_are_cut_when_they_are_asked_for(frames):
    clip = Clip(frames=4, stride=3, height=48, width=48, short_side=48)
    views, whole = Views(frames, clip, "10x3"), clip_views(frames, clip, "10x3")
    assert len(views) == 30
    rows = np.array([29, 0, 7, 7])
    np.testing.assert_array_equal(views[rows], whole[rows])
    np.testing.assert_array_equal(views[4:6], whole[4:6])
    tracemalloc.start()
    held = Views(frames, clip, "10x3")
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 1.1 * frames.nbytes < 0.5 * whole.nbytes
    assert len(held) == 30


def test_segments_and_whole_frames(frames):
    clip = Clip(frames=4, height=None, width=None, short_side=48, sampling="segments")
    views = clip_views(frames, clip, "2x1")
    assert views.shape == (2, 4, 48, 64, 3)
    assert corner(views[0]) == (0, 0, [5, 15, 25, 35])
    assert corner(views[1]) == (0, 0, [0, 10, 20, 30])
    with pytest.raises(ValueError, match='"2x1"'):
        clip_views(frames, clip, "2x3")


def test_short_videos(frames):
    clip = Clip(frames=8, stride=8, height=48, width=48, short_side=48)
    assert corner(clip_views(frames[:5], clip)[0])[2] == [0, 3, 1, 4, 2, 0, 3, 1]
    assert (
        corner(training_clip(frames[:1], clip, np.random.default_rng(0))[0])[2]
        == [0] * 8
    )


def test_training_has_one_crop_and_one_flip_for_a_clip(frames):
    clip = Clip(frames=4, stride=3, height=32, width=32, short_side=48)
    rng = np.random.default_rng(0)
    starts, tops, lefts, flips = set(), set(), set(), []
    for _ in range(400):
        view = training_clip(frames, clip, rng, Augment((48, 48)))[0]
        assert view.shape == (4, 32, 32, 3)
        assert (view[..., :2] == view[:1, ..., :2]).all(), "all frames are cut alike"
        flips.append(view[0, 0, 0, 1] > view[0, 0, -1, 1])
        upright = view[:, :, ::-1] if flips[-1] else view
        top, left, numbers = corner(upright)
        assert np.diff(numbers).tolist() == [3, 3, 3]
        assert (upright[0, -1, -1, :2] == (top + 31, left + 31)).all()
        starts.add(numbers[0]), tops.add(top), lefts.add(left)
    assert starts == set(range(29)), "every start that fits a span of 12 frames"
    assert tops == set(range(17)) and lefts == set(range(33))
    assert 150 < sum(flips) < 250
    never = [
        training_clip(frames, clip, rng, Augment((48, 48), flip=False))[0]
        for _ in range(20)
    ]
    assert all(view[0, 0, 0, 1] < view[0, 0, -1, 1] for view in never)


def test_training_scale(frames):
    """Short sides from 256 to 320 of 224 in the paper: here 64 to 80."""
    clip = Clip(frames=2, stride=1, height=None, width=None, short_side=64)
    rng = np.random.default_rng(0)
    sizes = {training_clip(frames, clip, rng)[0].shape[1] for _ in range(300)}
    assert sizes == set(range(64, 81))
    same = [training_clip(frames, clip, np.random.default_rng(3))[0] for _ in range(2)]
    np.testing.assert_array_equal(*same)


def test_a_video_and_its_frames_are_the_same(tmp_path, frames):
    path = str(tmp_path / "video.mkv")
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    clip = Clip(frames=4, stride=3, height=24, width=24, short_side=48)
    with Video(path) as video:
        views = clip_views(video, clip, "3x3")
        np.testing.assert_array_equal(views, clip_views(frames, clip, "3x3"))
        view = training_clip(video, clip, np.random.default_rng(0), Augment((30, 30)))[
            0
        ]
        other = training_clip(
            frames, clip, np.random.default_rng(0), Augment((30, 30))
        )[0]
        assert abs(view.astype(int) - other).max() <= 2


@pytest.mark.parametrize("size", [(240, 320), (37, 51), (97, 54), (30, 41), (1, 1)])
@pytest.mark.parametrize("short_side", [21, 54, 64])
def test_resize_is_that_of_pillow(size, short_side):
    """To 1 of 255; in the outermost pixels, which swscale repeats outwards, to 16."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 1, *size, 3), np.uint8)
    resized = resize(frames, short_side)
    height, width = scaled_size(size, short_side)
    assert resized.shape == (2, 1, height, width, 3)
    for before, after in zip(frames[:, 0], resized[:, 0].astype(int), strict=True):
        image = Image.fromarray(before).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        error = abs(after - np.asarray(image))
        assert error.max() <= 16
        assert error[1:-1, 1:-1].max() <= 1


def test_crop():
    frames = np.arange(5 * 7).reshape(1, 5, 7, 1)
    assert crop(frames, 3, 3)[0, 0, 0] == 1 * 7 + 2
    assert crop(frames, 3, 3, 0)[0, 0, 0] == 1 * 7 + 0
    assert crop(frames, 3, 3, 1)[0, 0, 0] == 1 * 7 + 4
    assert crop(frames, None, None).shape == frames.shape
    with pytest.raises(ValueError, match="6x3 .* does not fit into frames of 5x7"):
        crop(frames, 6, 3)


def test_arrays_that_are_no_frames(frames):
    clip = Clip(frames=2, stride=1, height=None, width=None, short_side=48)
    for array in (frames[0], frames[..., :2], frames.astype("f4")):
        with pytest.raises(ValueError, match="must be a uint8 array"):
            clip_views(array, clip)
    with pytest.raises(ValueError, match="total must be a whole number from 1, got 0"):
        clip_views(frames[:0], clip)
    with pytest.raises(ValueError, match="Clip.frames is None"):
        clip_views(frames, Clip(frames=None))


TSN = (1, 0.875, 0.75, 0.66)


def test_crops_of_tsn_are_those_of_its_code():
    """GroupMultiScaleCrop: sizes from the shorter side, places in quarters."""
    height, width = 64, 100
    sides = [int(64 * scale) for scale in TSN]
    expected = set()
    for i, rows in enumerate(sides):
        for j, columns in enumerate(sides):
            if abs(i - j) <= 1:
                down, right = (height - rows) / 4, (width - columns) / 4
                places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4)]
                places += [(4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3)]
                for y, x in places:
                    expected.add((rows, columns, int(y * down), int(x * right)))
    rows, columns = np.meshgrid(np.arange(64), np.arange(100), indexing="ij")
    frame = np.stack([rows * 2, columns * 2, rows], -1).astype(np.uint8)
    frames, rng = np.stack([frame, frame]), np.random.default_rng(0)
    found = set()
    for _ in range(3000):
        state = rng.bit_generator.state
        view = scaled_crop(frames, 32, 32, TSN, rng)
        rng.bit_generator.state = state
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("stzoo.data.transforms._scale", lambda part, *size: part)
            part = scaled_crop(frames, 32, 32, TSN, rng)
        assert view.shape == (2, 32, 32, 3) and (view[0] == view[1]).all()
        found.add((*part.shape[1:3], *(part[0, 0, 0, :2] // 2).tolist()))
        scaled = Image.fromarray(part[0]).resize((32, 32), Image.Resampling.BILINEAR)
        assert abs(view[0].astype(int) - np.asarray(scaled))[1:-1, 1:-1].max() <= 1
    assert found == expected


def test_crops_of_tsn_keep_the_shape_of_the_clip():
    frames = np.zeros((1, 64, 100, 3), np.uint8)
    rng = np.random.default_rng(0)
    assert scaled_crop(frames, 30, 60, (1,), rng).shape == (1, 30, 60, 3)
    with pytest.raises(ValueError, match="has no height and width"):
        scaled_crop(frames, None, None, TSN, rng)


def test_training_with_the_crops_of_tsn_shows_a_part_of_a_motion():
    clip = Clip(frames=8, height=64, width=64, short_side=80, sampling="segments")
    frame, rng = motions.render(5)[0][9:10], np.random.default_rng(0)
    augment = Augment(scales=(0.5,), flip=False)
    quarters = [(10 * y, 10 * x) for y, x in np.ndindex(5, 5)]
    parts = [resize(frame[:, y : y + 40, x : x + 40], 64)[0] for y, x in quarters]
    seen = set()
    for _ in range(99):
        view, label = training_clip(frame.repeat(21, 0), clip, rng, augment, label=3)
        assert view.shape == (8, 64, 64, 3) and label == 3
        assert (view == view[0]).all(), "one crop for all frames"
        seen |= {at for at, part in enumerate(parts) if (part == view[0]).all()}
    assert seen == {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24}


def test_jitter_is_one_for_the_clip_and_changes_what_it_says():
    frames = motions.render(2)[0]
    np.testing.assert_array_equal(jitter(frames, 0, np.random.default_rng(0)), frames)
    still = frames[:1].repeat(4, 0)
    for seed in range(5):
        view = jitter(still, 0.4, np.random.default_rng(seed))
        assert view.dtype == np.uint8 and (view == view[:1]).all()
        assert (view != still).any()
        b, c, s = np.random.default_rng(seed).uniform(0.6, 1.4, 3)
        x = still.astype(float) * b
        grey = x @ [0.299, 0.587, 0.114]
        x = (x - grey.mean()) * c + grey.mean()  # contrast, about the middle grey
        grey = (x @ [0.299, 0.587, 0.114])[..., None]
        x = (x - grey) * s + grey  # saturation, about the grey of the pixel
        assert abs(view - x.clip(0, 255)).max() <= 0.51


def middle(frames):
    """How far to the right a bright thing is, in the first and in the last frame."""
    x = np.arange(frames.shape[2])
    weights = frames[..., 0].astype(float).sum(1)
    return ((weights * x).sum(1) / weights.sum(1))[[0, -1]]


def test_a_mirrored_motion_has_the_label_of_what_it_shows():
    frames = np.zeros((21, 80, 80, 3), np.uint8)
    for count, frame in enumerate(frames):
        frame[30:50, 5 + 2 * count : 25 + 2 * count] = 255  # from left to right
    clip = Clip(frames=8, stride=2, height=80, width=80, short_side=80)
    pairs, rng = mirror_pairs(motions.CLASSES), np.random.default_rng(0)
    label = motions.CLASSES.index("left to right")
    seen = set()
    for _ in range(40):
        augment = Augment((80, 80), pairs=pairs)
        view, told = training_clip(frames, clip, rng, augment, label)
        first, last = middle(view)
        seen.add(motions.CLASSES[told])
        assert motions.CLASSES[told] == (
            "left to right" if first < last else "right to left"
        )
    assert seen == {"left to right", "right to left"}
    for augment in (
        Augment((80, 80), flip=False, pairs=pairs),
        Augment((80, 80), pairs={label: None}),
    ):
        for _ in range(10):
            view, told = training_clip(frames, clip, rng, augment, label)
            assert told == label and middle(view)[0] < middle(view)[1]


def test_what_cannot_be_varied():
    with pytest.raises(ValueError, match="two ways to crop"):
        Augment(short_sides=(256, 320), scales=TSN)
    with pytest.raises(ValueError, match="scales must be above 0"):
        Augment(scales=(1.5,))
    with pytest.raises(ValueError, match="jitter"):
        Augment(jitter=2)
