import numpy as np
import pytest
from harness import check_layer, close, gradients, numpy
from twins import motion_difference, temporal_depthwise

from stzoo.layers import MotionDifference, TemporalDepthwiseConv, TemporalShift

RNG = np.random.default_rng(0)
SHAPES = pytest.mark.parametrize("shape", [(4, 6, 8), (3, 5, 7), (2, 4, 4)], ids=str)


def random(layer, shape):
    """Returns the layer with a random kernel, and the kernel."""
    layer.build(shape)
    kernel = RNG.normal(size=layer.kernel.shape).astype("float32")
    layer.kernel.assign(kernel)
    return layer, kernel


@SHAPES
def test_temporal_convolution_matches_the_loop(shape):
    x = RNG.normal(size=(2, *shape, 5)).astype("float32")
    layer, kernel = random(TemporalDepthwiseConv(), x.shape)
    close(layer(x), temporal_depthwise(x, kernel))


def test_temporal_convolution_starts_as_a_shift_of_two_quarters():
    x = RNG.normal(size=(2, 4, 6, 8, 8)).astype("float32")
    # TSM with a divisor of 4: its first quarter comes from the next frame.
    expected = numpy(TemporalShift(4)(x[..., (6, 7, 0, 1, 2, 3, 4, 5)]))
    expected = expected[..., (2, 3, 4, 5, 6, 7, 0, 1)]
    close(TemporalDepthwiseConv()(x), expected, 0)
    layer = TemporalDepthwiseConv()
    layer.build((None, 2, 4, 4, 6))
    assert numpy(layer.kernel).T.tolist() == [
        [1, 0, 0],
        *[[0, 1, 0]] * 4,
        [0, 0, 1],
    ]


@SHAPES
def test_motion_matches_the_loop(shape):
    x = RNG.normal(size=(2, *shape, 5)).astype("float32")
    layer, kernel = random(MotionDifference(), x.shape)
    answer = numpy(layer(x))
    close(answer, motion_difference(x, kernel))
    assert not answer[:, -1].any()


def test_an_identity_kernel_shows_the_difference_of_frames():
    x = RNG.normal(size=(2, 4, 6, 8, 3)).astype("float32")
    layer, _ = random(MotionDifference(), x.shape)
    kernel = np.zeros((3, 3, 1, 3))
    kernel[1, 1] = 1
    layer.kernel.assign(kernel)
    close(numpy(layer(x))[:, :-1], x[:, 1:] - x[:, :-1])
    (found,) = gradients(layer, x)  # each frame between is added once and taken once
    np.testing.assert_allclose(found[:, 1:-1], 0, atol=1e-6)
    np.testing.assert_allclose(found[:, (0, -1)].mean((0, 2, 3, 4)), [-1, 1])


@pytest.mark.parametrize("make", [TemporalDepthwiseConv, MotionDifference])
def test_layers_satisfy_the_contract_of_keras(make, tmp_path):
    check_layer(make(), RNG.normal(size=(2, 4, 6, 8, 8)).astype("float32"), tmp_path)
