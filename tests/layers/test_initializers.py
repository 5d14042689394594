"""Drawn weights are counted, so that no file can fill the memory."""

import pytest

from stzoo.layers import initializers
from stzoo.layers.initializers import at_most

DRAWN = ["HeNormal", "GlorotUniform", "RandomNormal", "Identity"]


@pytest.mark.parametrize("name", DRAWN)
def test_drawing_more_than_the_limit_is_an_error(name):
    draw = getattr(initializers, name)()
    with at_most(2, 50):
        assert draw((3, 5)).shape == (3, 5)
        assert draw((5, 7)).shape == (5, 7)
        with pytest.raises(ValueError, match="more weights than its file"):
            draw((1, 1))
    with at_most(9, 50):
        with pytest.raises(ValueError, match="more weights than its file"):
            draw((10**6, 10**6))
    assert draw((10, 10)).shape == (10, 10)
