import re
import tracemalloc

import av
import numpy as np
import pytest

from stzoo.data import motions
from stzoo.data.frames import resize
from stzoo.data.mirroring import mirror_pairs
from stzoo.data.transforms import Augment, jitter
from stzoo.data.video import Video
from stzoo.data.views import Views, clip_views, length, read_clips, training_clip
from stzoo.weights.config import ClipConfig


@pytest.fixture
def frames():
    """Forty frames: red is the row, green the column, blue the index of the frame."""
    red, green, blue = np.meshgrid(
        np.arange(48), np.arange(64), np.arange(40), indexing="ij"
    )
    array = np.stack([red, green, blue], axis=-1).astype(np.uint8)
    return np.ascontiguousarray(array.transpose(2, 0, 1, 3))


def corner(view):
    """Returns the first row, the first column, and the frames, from the pixels."""
    return view[0, 0, 0, 0], view[0, 0, 0, 1], view[:, 0, 0, 2].tolist()


def refused(function, *args, **kwargs):
    with pytest.raises(ValueError) as error:
        function(*args, **kwargs)
    return str(error.value)


def test_one_view_is_the_middle(frames):
    clip = ClipConfig(frames=4, stride=3, height=32, width=32, short_side=48)
    views = clip_views(frames, clip)
    assert views.shape == (1, 4, 32, 32, 3) and views.dtype == np.uint8
    assert corner(views[0]) == (8, 16, [14, 17, 20, 23])


def test_thirty_views(frames):
    clip = ClipConfig(frames=4, stride=3, height=48, width=48, short_side=48)
    views = clip_views(frames, clip, "10x3")
    assert views.shape == (30, 4, 48, 48, 3)
    starts = [int(count * 2.9 + 1.45) for count in range(10)]
    for count, view in enumerate(views):
        first = starts[count // 3]
        expected = (0, [0, 8, 16][count % 3], [first, first + 3, first + 6, first + 9])
        assert corner(view) == expected
    upright = clip_views(frames.transpose(0, 2, 1, 3), clip, "1x3")
    assert [view[0, 0, 0, 1] for view in upright] == [0, 8, 16]


def test_views_are_cropped_lazily(frames):
    clip = ClipConfig(frames=4, stride=3, height=48, width=48, short_side=48)
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


def test_views_are_of_resized_frames(frames):
    clip = ClipConfig(frames=4, stride=3, height=24, width=24, short_side=24)
    small = resize(frames, 24)
    starts = (0, 4, 8)
    expected = [small[14:24:3, :, left : left + 24] for left in starts]
    np.testing.assert_array_equal(clip_views(frames, clip, "1x3"), expected)


def test_random_views_are_drawn_from_a_generator(frames):
    """There is one clip from each half of the 29 starts, with a center crop."""
    clip = ClipConfig(frames=4, stride=3, height=32, width=32, short_side=48)
    seen = []
    for seed in range(60):
        views = clip_views(frames, clip, "2x1", np.random.default_rng(seed))
        drawn = Views(frames, clip, "2x1", np.random.default_rng(seed))
        np.testing.assert_array_equal(drawn[:], views)
        tops, lefts, numbers = zip(*map(corner, views), strict=True)
        assert (tops, lefts) == ((8, 8), (16, 16))
        assert all(np.diff(part).tolist() == [3, 3, 3] for part in numbers)
        seen.append([part[0] for part in numbers])
    first, second = np.transpose(seen)
    assert first.max() <= 14 <= second.min() and second.max() == 28
    assert len(set(first)) > 8 and len(set(second)) > 8
    one = Views(frames, clip)
    np.testing.assert_array_equal(one[:], clip_views(frames, clip, "1x1"))
    assert len(one) == 1


def test_clips_of_chosen_frames(frames):
    clip = ClipConfig(frames=3, height=8, width=8, short_side=24)
    indices = np.array([[7, 0, 7], [39, 3, 1]])
    found = read_clips(frames, clip, indices)
    assert found.shape == (2, 3, 24, 32, 3)
    small = resize(frames, 24)
    for row, numbers in zip(found, indices, strict=True):
        np.testing.assert_array_equal(row, small[numbers])
    flowing = np.concatenate([frames, frames[..., :2] + 100], -1)
    np.testing.assert_array_equal(read_clips(flowing, clip, indices), found)
    two = ClipConfig(3, 1, 8, 8, 24, mean=(128, 128), std=(1, 1))
    five = ClipConfig(3, 1, 8, 8, 24, mean=(128,) * 5, std=(1,) * 5)
    both = read_clips(flowing, five, indices)
    assert both.shape == (2, 3, 24, 32, 5)
    np.testing.assert_array_equal(both[..., :3], found)
    np.testing.assert_array_equal(both[..., 3:], read_clips(flowing, two, indices))
    assert abs(both[..., 3:].astype(int) - found[..., :2] - 100).max() <= 1


def test_frames_with_a_next_one():
    clip, flow = ClipConfig(), ClipConfig(mean=(128, 128), std=(1, 1))
    for total in (1, 2, 9):
        video = np.zeros((total, 16, 16, 3), np.uint8)
        assert length(video, clip) == total
        assert length(video, flow) == max(total - 1, 1)
        known = np.zeros((total, 16, 16, 5), np.uint8)
        assert length(known, clip) == length(known, flow) == total


def test_segments_and_whole_frames(frames):
    clip = ClipConfig(
        frames=4, height=None, width=None, short_side=48, sampling="segments"
    )
    views = clip_views(frames, clip, "2x1")
    assert views.shape == (2, 4, 48, 64, 3)
    assert corner(views[0]) == (0, 0, [5, 15, 25, 35])
    assert corner(views[1]) == (0, 0, [0, 10, 20, 30])
    for crops in (2, 3):
        assert refused(clip_views, frames, clip, f"2x{crops}") == (
            f"views='2x{crops}' has {crops} crops, but this model uses the whole "
            'frame. Pass views="2x1".'
        )


def test_short_videos(frames):
    clip = ClipConfig(frames=8, stride=8, height=48, width=48, short_side=48)
    assert corner(clip_views(frames[:5], clip)[0])[2] == [0, 3, 1, 4, 2, 0, 3, 1]
    assert (
        corner(training_clip(frames[:1], clip, np.random.default_rng(0))[0])[2]
        == [0] * 8
    )


def test_training_has_one_crop_and_one_flip_for_a_clip(frames):
    clip = ClipConfig(frames=4, stride=3, height=32, width=32, short_side=48)
    rng = np.random.default_rng(0)
    starts, tops, lefts, flips = set(), set(), set(), []
    for _ in range(400):
        view = training_clip(frames, clip, rng, Augment((48, 48)))[0]
        assert view.shape == (4, 32, 32, 3)
        assert (view[..., :2] == view[:1, ..., :2]).all(), "one crop for all frames"
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
    clip = ClipConfig(frames=2, stride=1, height=None, width=None, short_side=64)
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
    clip = ClipConfig(frames=4, stride=3, height=24, width=24, short_side=48)
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


def test_an_error_names_the_video(tmp_path, frames):
    motions.save(tmp_path / "small.mp4", frames)
    clip = ClipConfig(frames=2, stride=1, height=56, width=56, short_side=48)
    with Video(tmp_path / "small.mp4") as video:
        with pytest.raises(ValueError, match="small.mp4: A crop of 56x56"):
            clip_views(video, clip)
        augment = Augment(short_sides=(48, 48))
        with pytest.raises(ValueError, match="small.mp4: A crop of 56x56"):
            training_clip(video, clip, np.random.default_rng(0), augment)


def test_arrays_that_are_not_frames_are_refused(frames):
    clip = ClipConfig(frames=2, stride=1, height=None, width=None, short_side=48)
    for array in (
        frames[0],
        frames[..., :2],
        frames[..., [0] * 4],
        frames.astype("f4"),
    ):
        assert refused(clip_views, array, clip) == (
            "The frames of a video must be a uint8 array (frames, height, width, 3), "
            "or 5 with optical flow, of at least one frame and one pixel. "
            f"Received: {array.dtype} {array.shape}."
        )
    with pytest.raises(ValueError, match="at least one frame and one pixel"):
        clip_views(frames[:0], clip)
    assert refused(clip_views, frames, ClipConfig(frames=None)) == (
        "ClipConfig.frames is None. Set the number of frames."
    )
    for array in (frames[0], frames[..., :2], frames.astype("f4")):
        with pytest.raises(ValueError, match="must be a uint8 array"):
            clip_views(array, clip)
    shapes = [(0, 48, 64, 3), (4, 0, 64, 3), (4, 48, 0, 3), (4, 48, 64, 4), (4, 48)]
    for shape in [*shapes, (), (1, 4, 48, 64, 3)]:
        message = re.escape(
            f"at least one frame and one pixel. Received: uint8 {shape}"
        )
        array = np.zeros(shape, np.uint8)
        with pytest.raises(ValueError, match=message):
            clip_views(array, clip)
        with pytest.raises(ValueError, match=message):
            training_clip(array, clip, np.random.default_rng(0))
        with pytest.raises(ValueError, match=message):
            read_clips(array, clip, np.zeros((1, 2), int))
    for other in (frames.tolist(), None, "video.mp4"):
        with pytest.raises(ValueError, match=f"Received: {type(other).__name__}"):
            clip_views(other, clip)
    with pytest.raises(ValueError, match="ClipConfig.frames is None"):
        clip_views(frames, ClipConfig(frames=None))


def test_training_with_the_crops_of_tsn_shows_a_part_of_a_motion():
    clip = ClipConfig(frames=8, height=64, width=64, short_side=80, sampling="segments")
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


def test_clips_of_training_are_cropped_by_area_and_then_changed(frames, monkeypatch):
    given, clip = [], ClipConfig(frames=4, height=20, width=24, short_side=48)

    def change(frames, count, magnitude, rng):
        given.append((frames.shape, count, magnitude))
        assert isinstance(rng, np.random.Generator)
        return frames // 2

    monkeypatch.setattr("stzoo.data.views.rand_augment", change)
    cropped, changed = (
        training_clip(frames, clip, np.random.default_rng(3), augment)[0]
        for augment in (
            Augment(area=(0.2, 0.3)),
            Augment(area=(0.2, 0.3), randaugment=(2, 5)),
        )
    )
    assert given == [((4, 20, 24, 3), 2, 5)]
    np.testing.assert_array_equal(changed, cropped // 2)
    seen = (
        np.ptp(cropped[0, ..., 0].astype(int)),
        np.ptp(cropped[0, ..., 1].astype(int)),
    )
    assert 0.17 < np.prod(seen) / (48 * 64) < 0.31


def middle(frames):
    """Returns the x position of a bright thing in the first and in the last frame."""
    x = np.arange(frames.shape[2])
    weights = frames[..., 0].astype(float).sum(1)
    return ((weights * x).sum(1) / weights.sum(1))[[0, -1]]


def test_a_mirrored_motion_has_the_label_of_its_mirror_image():
    frames = np.zeros((21, 80, 80, 3), np.uint8)
    for count, frame in enumerate(frames):
        frame[30:50, 5 + 2 * count : 25 + 2 * count] = 255  # from left to right
    clip = ClipConfig(frames=8, stride=2, height=80, width=80, short_side=80)
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


def test_a_clip_without_a_label_is_mirrored_regardless_of_pairs(frames):
    clip = ClipConfig(frames=4, stride=3, height=32, width=32, short_side=48)
    augment = Augment((48, 48), pairs={0: None, 1: 2})
    flips = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        view, label = training_clip(frames, clip, rng, augment)
        assert label is None
        flips.append(bool(view[0, 0, 0, 1] > view[0, 0, -1, 1]))
    assert 15 < sum(flips) < 45


def test_half_of_all_clips_are_mirrored(frames):
    clip = ClipConfig(frames=1, stride=1, height=32, width=32, short_side=48)
    rng, count = np.random.default_rng(0), 2000
    views = [
        training_clip(frames, clip, rng, Augment((48, 48)))[0] for _ in range(count)
    ]
    share = np.mean([view[0, 0, 0, 1] > view[0, 0, -1, 1] for view in views])
    assert abs(share - 0.5) < 0.035  # three standard deviations


def test_jitter_changes_only_colours(frames):
    """Flow is not changed, with and without colours."""
    flowing = np.concatenate([frames, frames[..., :2] + 100], -1)
    for mean in [(0,) * 3, (0,) * 5, (0,) * 2]:
        clip = ClipConfig(2, 1, 48, 64, 48, mean=mean, std=(1,) * len(mean))
        video = frames if len(mean) == 3 else flowing
        plain = Augment((48, 48), flip=False)
        varied = Augment((48, 48), flip=False, jitter=0.5)
        straight, _ = training_clip(video, clip, np.random.default_rng(1), plain)
        found, _ = training_clip(video, clip, np.random.default_rng(1), varied)
        if len(mean) == 2:
            np.testing.assert_array_equal(found, straight)
            continue
        state = np.random.default_rng(1)
        training_clip(video, clip, state, plain)  # `flip=False` draws nothing
        expected = jitter(straight[..., :3], 0.5, state)
        np.testing.assert_array_equal(found[..., :3], expected)
        assert (expected != straight[..., :3]).any()
        np.testing.assert_array_equal(found[..., 3:], straight[..., 3:])
