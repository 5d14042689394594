"""Operations of RandAugment, against Pillow where it has the same ones."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from stzoo.data.motions import render
from stzoo.data.randaugment import FILL, OPERATIONS, rand_augment

CLIP = render(1)[0][:3, :48, :60].copy()
STILL = CLIP[:1].repeat(3, 0)
ENHANCED = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "color": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}


def applied(name, strength=0.6, sign=1, clip=STILL):
    return OPERATIONS[name](clip, strength, sign).astype(int)


def pillow(operation):
    return np.asarray(operation(Image.fromarray(STILL[0]))).astype(int)


@pytest.mark.parametrize("name", ENHANCED)
@pytest.mark.parametrize("sign", [-1, 1])
def test_colours_change_as_in_pillow(name, sign):
    factor = 1 + 0.9 * sign * 0.6
    expected = pillow(lambda image: ENHANCED[name](image).enhance(factor))
    assert np.abs(applied(name, sign=sign) - expected).max() <= 2
    assert np.abs(expected - STILL[0]).max() > 10


def test_tables_are_those_of_pillow():
    expected = pillow(ImageOps.autocontrast)
    assert np.abs(applied("auto_contrast") - expected).max() <= 1
    expected = pillow(ImageOps.equalize)
    np.testing.assert_array_equal(OPERATIONS["equalize"](STILL[:1], 0, 1)[0], expected)
    expected = pillow(lambda image: ImageOps.solarize(image, 192))
    np.testing.assert_array_equal(applied("solarize", 0.25)[0], expected)
    expected = pillow(lambda image: ImageOps.posterize(image, 2))
    for strength in (0.6, 0.7):
        np.testing.assert_array_equal(applied("posterize", strength)[0], expected)
    assert not applied("posterize", 1.0).any()
    np.testing.assert_array_equal(applied("identity"), STILL)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", ["shear_x", "shear_y", "rotate"])
def test_frames_move_as_in_pillow(name, sign):
    """Pillow takes the pixel of each place from `matrix @ place`."""
    cosine, sine = np.cos(np.pi / 10), sign * np.sin(np.pi / 10)
    a, b, d, e = {
        "shear_x": (1, 0.18 * sign, 0, 1),
        "shear_y": (1, 0, 0.18 * sign, 1),
        "rotate": (cosine, sine, -sine, cosine),
    }[name]
    height, width = STILL.shape[1:3]
    x, y = width / 2, height / 2
    coefficients = (a, b, x - a * x - b * y, d, e, y - d * x - e * y)
    expected = pillow(
        lambda image: image.transform(
            image.size, Image.Transform.AFFINE, coefficients, fillcolor=FILL
        )
    )
    found = applied(name, sign=sign)
    assert (np.abs(found[0] - expected).max(-1) > 2).mean() < 0.02
    assert (np.abs(found[0] - STILL[0]).max(-1) > 2).mean() > 0.02


def test_translation_leaves_the_fill_colour():
    found = applied("translate_x", 0.5)  # 0.225 of 60 columns
    np.testing.assert_array_equal(found[:, :, :46], STILL[:, :, 14:])
    assert (found[:, :, 47:] == FILL).all()
    found = applied("translate_y", 1.0, -1)  # 0.45 of 48 rows
    np.testing.assert_array_equal(found[:, 22:], STILL[:, :26])
    assert (found[:, :21] == FILL).all()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_still_clip_stays_still(name):
    found = applied(name)
    assert (found == found[:1]).all()
    assert OPERATIONS[name](STILL, 0.6, 1).dtype == np.uint8
    flat = np.full_like(STILL, 9)
    assert OPERATIONS[name](flat, 0.6, 1).shape == flat.shape


@pytest.mark.parametrize("name", ["auto_contrast", "equalize", "contrast"])
def test_statistics_are_those_of_the_whole_clip(name):
    """A frame of a clip that gets brighter keeps its place among the others."""
    ramp = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (50, 60, 90)])
    found = applied(name, clip=ramp)
    assert (np.diff(found[:, 0, 0, 0]) > 0).all()
    expected = {"auto_contrast": [0, 64, 255], "contrast": [41, 56, 102]}
    if name in expected:  # contrast moves values away from their mean of 67
        assert found[:, 0, 0, 0].tolist() == expected[name]


def test_half_of_the_drawn_operations_are_applied_one_after_the_other(monkeypatch):
    """Magnitudes are normal around the given one, and both signs are as likely."""
    seen = []
    for name in OPERATIONS:

        def note(frames, strength, sign, name=name):
            seen.append((name, strength, sign))
            return frames + 1

        monkeypatch.setitem(OPERATIONS, name, note)
    clip = np.zeros((1, 2, 2, 3), np.uint8)
    rngs = [np.random.default_rng(seed) for seed in range(300)]
    counts = [int(rand_augment(clip, 4, 7, rng).max()) for rng in rngs]
    assert sum(counts) == len(seen) and max(counts) == 4
    assert np.mean(counts) == pytest.approx(2, abs=0.2)
    names, strengths, signs = zip(*seen, strict=True)
    assert set(names) == set(OPERATIONS) and set(signs) == {-1, 1}
    assert abs(np.mean(signs)) < 0.15
    assert np.mean(strengths) == pytest.approx(0.7, abs=0.01)
    assert np.std(strengths) == pytest.approx(0.05, abs=0.01)
    seen.clear()
    rand_augment(clip, 40, 10, rngs[0])
    assert max(strength for _, strength, _ in seen) == 1


def test_operations_are_drawn_by_the_generator():
    one = rand_augment(CLIP, 4, 7, np.random.default_rng(0))
    np.testing.assert_array_equal(
        one, rand_augment(CLIP, 4, 7, np.random.default_rng(0))
    )
    results = [rand_augment(CLIP, 1, 9, np.random.default_rng(n)) for n in range(60)]
    changed = [(result != CLIP).any() for result in results]
    assert 15 < sum(changed) < 42  # about half of them, without the identity
    weak = [rand_augment(STILL, 1, 0, np.random.default_rng(n)) for n in range(60)]
    strong = [rand_augment(STILL, 1, 10, np.random.default_rng(n)) for n in range(60)]
    distance = [np.abs(np.array(x, int) - STILL).mean() for x in (weak, strong)]
    assert distance[0] < 0.5 * distance[1]
