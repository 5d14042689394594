import tracemalloc

import numpy as np
import pytest
from PIL import Image

from stzoo.data import motions, transforms
from stzoo.data.frames import resize
from stzoo.data.transforms import Augment, area_crop, crop, jitter, scaled_crop
from stzoo.data.video import scaled_size

TSN = (1, 0.875, 0.75, 0.66)


def refused(function, *args, **kwargs):
    with pytest.raises(ValueError) as error:
        function(*args, **kwargs)
    return str(error.value)


@pytest.mark.parametrize("size", [(240, 320), (37, 51), (97, 54), (30, 41), (1, 1)])
@pytest.mark.parametrize("short_side", [21, 54, 64])
def test_resize_matches_pillow(size, short_side):
    """It agrees to 1 of 255, and to 16 in the outermost pixels, repeated by swscale."""
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
    assert crop(frames, 5, 7).shape == frames.shape
    np.testing.assert_array_equal(crop(frames, 3, None), frames[:, 1:4])
    np.testing.assert_array_equal(crop(frames, None, 3), frames[:, :, 2:5])
    for size, text in [((6, 3), "6x3"), ((3, 8), "3x8"), ((6, 8), "6x8")]:
        assert refused(crop, frames, *size) == (
            f"A crop of {text} (height x width) is larger than frames of 5x7. "
            "Choose a larger short_side."
        )


def test_crops_along_the_longer_side():
    wide = np.arange(5 * 7).reshape(1, 5, 7, 1)
    tall, square = wide.transpose(0, 2, 1, 3), np.arange(49).reshape(1, 7, 7, 1)
    for place, start in [(0, 0), (0.5, 2), (1, 4)]:
        assert crop(wide, 3, 3, place)[0, 0, 0] == 7 + start
        assert crop(tall, 3, 3, place)[0, 0, 0] == 7 + start
        assert crop(square, 3, 3, place)[0, 0, 0] == 2 * 7 + start  # along its rows
    drawn = [
        crop(wide, 3, 3, "random", np.random.default_rng(seed))[0, 0, 0]
        for seed in range(300)
    ]
    assert {int(value) for (value,) in drawn} == {
        7 * row + column for row in range(3) for column in range(5)
    }


def test_crops_of_tsn_match_its_code():
    """GroupMultiScaleCrop: sizes from the shorter side, positions in quarters."""
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
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("stzoo.data.transforms.scale", lambda part, *size: part)
            part = scaled_crop(frames, 32, 32, TSN, rng)
        place = *part.shape[1:3], *(part[0, 0, 0, :2] // 2).tolist()
        if place in found:
            continue
        found.add(place)
        after, rng.bit_generator.state = rng.bit_generator.state, state
        view = scaled_crop(frames, 32, 32, TSN, rng)
        assert rng.bit_generator.state == after
        assert view.shape == (2, 32, 32, 3) and (view[0] == view[1]).all()
        scaled = Image.fromarray(part[0]).resize((32, 32), Image.Resampling.BILINEAR)
        assert abs(view[0].astype(int) - np.asarray(scaled))[1:-1, 1:-1].max() <= 1
    assert found == expected


def test_crops_of_tsn_keep_the_shape_of_the_clip():
    frames = np.zeros((1, 64, 100, 3), np.uint8)
    rng = np.random.default_rng(0)
    assert scaled_crop(frames, 30, 60, (1,), rng).shape == (1, 30, 60, 3)
    assert scaled_crop(frames, 60, 30, (1,), rng).shape == (1, 60, 30, 3)
    for size in [(None, None), (None, 32), (32, None)]:
        assert refused(scaled_crop, frames, *size, TSN, rng) == (
            "`scales` needs a clip with a height and a width. Set both in its "
            "ClipConfig, or omit `scales`."
        )


def test_the_largest_crop_that_fits_keeps_the_shape_of_the_clip(monkeypatch):
    """The crop before it is resized has twice as many rows as columns."""
    monkeypatch.setattr("stzoo.data.transforms.scale", lambda part, *size: part)
    rng = np.random.default_rng(0)
    for size, clip, part in [
        ((64, 100), (20, 40), (50, 100)),
        ((64, 100), (40, 20), (64, 32)),
        ((90, 60), (15, 15), (60, 60)),
    ]:
        frames = np.zeros((1, *size, 3), np.uint8)
        assert scaled_crop(frames, *clip, (1,), rng).shape[1:3] == part


def test_crops_of_inception_have_the_area_and_the_ratio_of_their_ranges(monkeypatch):
    sizes, rng = [], np.random.default_rng(0)

    def note(frames, height, width, where, rng):
        sizes.append((height, width))
        return crop(frames, height, width, where, rng)

    monkeypatch.setattr(transforms, "crop", note)
    frames = np.zeros((1, 200, 240, 3), np.uint8)
    for _ in range(300):
        assert area_crop(frames, 30, 40, (0.1, 0.5), rng).shape == (1, 30, 40, 3)
    heights, widths = np.array(sizes).T
    shares, ratios = heights * widths / (200 * 240), widths / heights
    assert 0.09 < shares.min() < 0.13 and 0.47 < shares.max() < 0.51
    assert shares.mean() == pytest.approx(0.3, abs=0.03)
    assert 0.73 < ratios.min() < 0.78 and 1.28 < ratios.max() < 1.37
    assert np.log(ratios).mean() == pytest.approx(0, abs=0.04)
    for _ in range(50):  # a side is at most that of the frame
        area_crop(frames, 30, 40, (1, 1), rng)
    assert set(map(max, zip(*sizes, strict=True))) == {200, 240}


def test_jitter_is_the_same_for_all_frames_and_matches_its_equations():
    frames = motions.render(2)[0]
    np.testing.assert_array_equal(jitter(frames, 0, np.random.default_rng(0)), frames)
    noise = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), np.uint8)
    noise[1:] //= 3  # so that the mean grey of a frame is not that of the clip
    beyond = 0
    for seed in range(10):
        still = noise if seed % 2 else frames[:1].repeat(4, 0)
        view = jitter(still, 0.4, np.random.default_rng(seed))
        assert view.dtype == np.uint8 and (view != still).any()
        assert seed % 2 or (view == view[:1]).all()
        b, c, s = np.random.default_rng(seed).uniform(0.6, 1.4, 3)
        x = still.astype(float) * b
        grey = x @ [0.299, 0.587, 0.114]
        x = (x - grey.mean()) * c + grey.mean()  # contrast, about the middle grey
        grey = (x @ [0.299, 0.587, 0.114])[..., None]
        x = (x - grey) * s + grey  # saturation, about the grey of the pixel
        assert abs(view - x.clip(0, 255)).max() <= 0.51
        beyond += (x < -5).any() and (x > 260).any()
    assert beyond > 1, "values beyond the range are clipped"


def test_jitter_needs_the_memory_of_one_copy_in_float32():
    """Colours take four bytes for one, and two greys a third of that each."""
    frames = np.zeros((16, 64, 64, 3), np.uint8)
    tracemalloc.start()
    jitter(frames, 0.4, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 7 * frames.nbytes


def test_bad_augmentations_are_refused():
    assert refused(Augment, short_sides=(256, 320), scales=(1, 0.5)) == (
        "Augment: pass one of short_sides, scales and area. "
        "Received: (256, 320), (1, 0.5)."
    )
    for scales in [(1.5,), (1, 1.01), (0.5, 0), (-0.1,)]:
        assert refused(Augment, scales=scales) == (
            f"Augment: scales must be above 0 and at most 1. Received: {scales}."
        )
    for strength in (2, 1.01, -0.01):
        assert refused(Augment, jitter=strength) == (
            f"Augment: jitter must be from 0 to 1. Received: {strength}."
        )
    assert Augment(scales=(1, 0.01), jitter=1).jitter == 1
    assert Augment() == Augment(None, (), True, None, 0.0)


@pytest.mark.parametrize(
    ("field", "good", "bad", "what"),
    [
        (
            "area",
            [(0.01, 1), (0.5, 0.5)],
            [(0, 0.5), (0.6, 0.5), (0.5, 1.01)],
            "two shares of a frame, the smaller one first",
        ),
        ("mixup", [0, 0.2], [-0.1, np.inf, np.nan], "a number of at least 0"),
        ("cutmix", [0, 1.0], [-0.1, np.inf, np.nan], "a number of at least 0"),
        ("repeats", [1, 2], [0, 1.0, True], "an integer, at least 1"),
        (
            "randaugment",
            [(1, 0), (2, 0.5), (1, 10)],
            [(0, 5), (1.0, 5), (1, -0.1), (1, 10.1)],
            "a number of operations, at least 1, and a magnitude from 0 to 10",
        ),
    ],
)
def test_augmentations_have_a_range(field, good, bad, what):
    for value in good:
        assert getattr(Augment(**{field: value}), field) == value
    for value in bad:
        message = f"Augment: {field} must be {what}. Received: {value!r}."
        assert refused(Augment, **{field: value}) == message


def test_crops_of_inception_may_be_one_pixel_and_need_a_size():
    frames = np.arange(9, dtype=np.uint8).reshape(1, 3, 3, 1).repeat(3, -1)
    view = area_crop(frames, 2, 2, (1e-6, 1e-6), np.random.default_rng(0))
    assert view.shape == (1, 2, 2, 3) and np.ptp(view) == 0
    assert refused(area_crop, frames, None, 2, (1, 1), None) == (
        "`area` needs a clip with a height and a width. Set both in its ClipConfig, or "
        "omit `area`."
    )
