import av
import numpy as np
import pytest
from PIL import Image

from stzoo.data.transforms import Augment, clip_views, crop, resize, training_clip
from stzoo.data.video import Video, scaled_size
from stzoo.spec import Clip


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
