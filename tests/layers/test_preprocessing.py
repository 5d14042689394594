import numpy as np
import pytest
from harness import close, numpy, precision

from stzoo.layers import Normalize

RNG = np.random.default_rng(0)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_normalizes_each_channel(dtype):
    x = RNG.integers(0, 256, (2, 4, 6, 8, 3)).astype(dtype)
    close(Normalize(MEAN, STD)(x), (x.astype("float64") - MEAN) / STD)


def test_mean_and_std_are_rgb_also_for_a_bgr_network():
    """They have the order of the input."""
    x = RNG.integers(0, 256, (2, 4, 6, 8, 3)).astype("uint8")
    rgb = numpy(Normalize(MEAN, STD)(x))
    close(Normalize(MEAN, STD, "BGR")(x), rgb[..., ::-1])


def test_subtracts_before_it_rounds():
    """Rounding to half precision before the subtraction would lose digits."""
    x = np.full((1, 1, 1, 1, 3), 254.7, "float32")
    with precision("mixed_bfloat16"):
        y = numpy(Normalize(MEAN, (0.5,) * 3)(x)).astype("float64")
    expected = (254.7 - np.array(MEAN)) / 0.5
    np.testing.assert_allclose(y.ravel(), expected, rtol=2**-8)
