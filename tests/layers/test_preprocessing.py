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


def test_bgr_is_for_the_network_only():
    """Mean and deviation are given in the order of the input, which is RGB."""
    x = RNG.integers(0, 256, (2, 4, 6, 8, 3)).astype("uint8")
    rgb = numpy(Normalize(MEAN, STD)(x))
    close(Normalize(MEAN, STD, "BGR")(x), rgb[..., ::-1])


def test_subtracts_before_it_rounds():
    """In half precision, 255 - 123.675 keeps what the mean would have drowned."""
    x = np.full((1, 1, 1, 1, 3), 254.7, "float32")
    with precision("mixed_bfloat16"):
        y = numpy(Normalize(MEAN, (0.5,) * 3)(x)).astype("float64")
    expected = (254.7 - np.array(MEAN)) / 0.5
    np.testing.assert_allclose(y.ravel(), expected, rtol=2**-8)
