import keras
import numpy as np
import pytest
from harness import check_layer, close, gradients, numpy
from twins import convolution

from stzoo.layers import ClipConv, DepthwiseConv, FrameConv, lowering
from stzoo.layers.initializers import (
    GlorotUniform,
    HeNormal,
    Identity,
    RandomNormal,
)

RNG = np.random.default_rng(0)
KERNELS = [(1, 3, 3), (3, 1, 1), (3, 1, 3), (3, 3, 1), (3, 3, 3), (5, 3, 1), (1, 1, 1)]
STRIDES = [(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 2)]


@pytest.mark.parametrize("strides", STRIDES, ids=str)
@pytest.mark.parametrize("size", KERNELS, ids=str)
@pytest.mark.parametrize("shape", [(4, 6, 8), (3, 5, 7)], ids=str)
def test_conv3d_matches_the_definition(shape, size, strides):
    x = RNG.normal(size=(2, *shape, 3)).astype("float32")
    kernel = RNG.normal(size=(*size, 3, 4)).astype("float32")
    layer = ClipConv(4, size, strides)
    layer.build(x.shape)
    layer.kernel.assign(kernel)
    close(layer(x), convolution(x, kernel, strides))


@pytest.mark.parametrize("size", KERNELS, ids=str)
@pytest.mark.parametrize(("activation", "limit"), [("relu", np.inf), ("relu6", 6)])
def test_bias_residual_and_relu_follow_the_convolution(size, activation, limit):
    x = 3 * RNG.normal(size=(2, 4, 6, 8, 3)).astype("float32")
    layer = ClipConv(4, size, 2, use_bias=True, activation=activation)
    layer.build(x.shape)
    layer.bias.assign([1, -2, 3, -4])
    sums = convolution(x, numpy(layer.kernel), (1, 2, 2)) + [1, -2, 3, -4]
    assert sums.max() > 6
    close(layer(x), np.clip(sums, 0, limit))
    residual = keras.ops.convert_to_tensor(RNG.normal(size=sums.shape), "float32")
    before = numpy(residual).copy()
    close(layer(x, residual=residual), np.clip(sums + before, 0, limit))
    np.testing.assert_array_equal(numpy(residual), before)
    with pytest.raises(ValueError, match="must have the shape of the output"):
        layer(x, residual=keras.ops.swapaxes(residual, 2, 3))
    with pytest.raises(ValueError, match='must be None, "relu" or "relu6". Rec'):
        ClipConv(4, size, activation="gelu")


@pytest.mark.parametrize("size", KERNELS, ids=str)
def test_lowered_convolutions_have_the_gradients_of_conv3d(size, monkeypatch):
    x = RNG.normal(size=(2, 4, 6, 8, 3)).astype("float32")
    kernel = RNG.normal(size=(*size, 3, 4)).astype("float32")

    def squared(x, kernel):
        return lowering.convolve(x, kernel) ** 2

    found = {}
    for native in (True, False):
        monkeypatch.setattr(
            lowering, "prefers_conv3d", lambda *_, native=native: native
        )
        found[native] = gradients(squared, x, kernel)
    for native, lowered in zip(found[True], found[False], strict=True):
        close(lowered, native)


@pytest.mark.parametrize("stride", [1, 2])
def test_frame_conv_convolves_every_frame(stride):
    x = RNG.normal(size=(2, 3, 6, 8, 3)).astype("float32")
    layer = FrameConv(4, 3, stride, use_bias=True)
    layer.build(x.shape)
    layer.bias.assign([1, 2, 3, 4])
    kernel = numpy(layer.kernel)[None]
    close(layer(x), convolution(x, kernel, (1, stride, stride)) + [1, 2, 3, 4])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(6, 8), (5, 7)], ids=str)
def test_frame_conv_without_padding(shape, stride):
    """The result is that with padding, without its margin."""
    x = RNG.normal(size=(2, 3, *shape, 3)).astype("float32")
    layer = FrameConv(4, (3, 5), stride, padded=False)
    layer.build(x.shape)
    expected = convolution(x, numpy(layer.kernel)[None], (1, 1, 1))
    close(layer(x), expected[:, :, 1:-1:stride, 2:-2:stride])


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 2)], ids=str)
@pytest.mark.parametrize("size", [(3, 3), (5, 3), (1, 7)], ids=str)
def test_gradients_of_a_convolution_are_those_of_a_linear_function(
    size, strides, padded
):
    images = RNG.normal(size=(2, 2, 3, 8, 9, 3)).astype("float32")
    kernels = RNG.normal(size=(2, *size, 3, 4)).astype("float32")
    x, other_x, kernel, other_kernel = map(
        keras.ops.convert_to_tensor, (*images, *kernels)
    )

    def run(x, kernel):
        return lowering.conv2d_by_frame(x, kernel, strides, padded=padded)

    weights = RNG.normal(size=run(x, kernel).shape).astype("float32")
    factors = keras.ops.convert_to_tensor(weights)
    found = gradients(lambda *a: run(*a) * factors, images[0], kernels[0])
    changed = run(other_x, kernel), run(x, other_kernel)
    for gradient, step, answer in zip(
        found, (images[1], kernels[1]), changed, strict=True
    ):
        terms = gradient * step
        wrong = terms.sum() - (numpy(answer) * weights).sum()
        assert abs(wrong) < 1e-5 * abs(terms).sum()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, (1, 3), 5, 1], ids=str)
@pytest.mark.parametrize("shape", [(6, 8), (5, 7)], ids=str)
def test_depthwise_conv_convolves_each_channel(shape, size, stride):
    x = RNG.normal(size=(2, 3, *shape, 4)).astype("float32")
    layer = DepthwiseConv(size, stride, use_bias=True)
    layer.build(x.shape)
    layer.bias.assign([1, 2, 3, 4])
    whole = numpy(layer.kernel) * np.eye(4)  # zeros for the other channels
    expected = convolution(x, whole[None], (1, stride, stride)) + [1, 2, 3, 4]
    close(layer(x), expected)
    residual = RNG.normal(size=expected.shape).astype("float32")
    close(layer(x, residual=residual), expected + residual)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_conv_has_the_gradients_of_a_convolution(stride):
    x = RNG.normal(size=(2, 3, 6, 8, 4)).astype("float32")
    kernel = RNG.normal(size=(3, 3, 1, 4)).astype("float32")

    def depthwise(x, kernel):
        return lowering.depthwise_by_frame(x, kernel, (stride, stride)) ** 2

    def whole(x, kernel):
        kernel = kernel * keras.ops.eye(4)
        return lowering.conv2d_by_frame(x, kernel, (stride, stride)) ** 2

    for found, expected in zip(
        gradients(depthwise, x, kernel), gradients(whole, x, kernel), strict=True
    ):
        close(found, expected)


def test_depthwise_conv_has_one_stride():
    with pytest.raises(ValueError, match=r"the same stride .*strides=\(1, 2\)"):
        DepthwiseConv(3, (1, 2))


@pytest.mark.parametrize(
    "layer",
    [
        DepthwiseConv(3, strides=2, use_bias=True, activation="relu6"),
        FrameConv(4, 3, strides=2, use_bias=True),
        FrameConv(4, 3, strides=2, padded=False),
        FrameConv(4, (1, 7)),
        ClipConv(4, (3, 1, 1)),
        ClipConv(4, (3, 3, 3), strides=2),
    ],
    ids=["depthwise", "strided", "unpadded", "1x7", "3x1x1", "3x3x3"],
)
def test_layers_satisfy_the_contract_of_keras(layer, tmp_path):
    check_layer(layer, RNG.normal(size=(2, 4, 6, 8, 3)).astype("float32"), tmp_path)


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match=r"must be odd.*\(3, 2\)"):
        FrameConv(4, (3, 2))


def test_identity_kernel_leaves_the_input_unchanged():
    x = RNG.normal(size=(2, 4, 6, 8, 3)).astype("float32")
    layer = ClipConv(3, (3, 1, 3), kernel_initializer=Identity())
    close(layer(x), x)
    assert ClipConv.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (GlorotUniform, keras.initializers.GlorotUniform),
        (RandomNormal, keras.initializers.RandomNormal),
    ],
)
def test_initializers_draw_from_the_distribution_of_keras(ours, theirs):
    values, expected = (numpy(draw(seed=1)((300, 500))) for draw in (ours, theirs))
    shares = (0.01, 0.1, 0.5, 0.9, 0.99)
    found, known = np.quantile(values, shares), np.quantile(expected, shares)
    np.testing.assert_allclose(found, known, atol=0.02 * expected.std())
    np.testing.assert_array_equal(values, numpy(ours(seed=1)((300, 500))))
    assert (values != numpy(ours(seed=2)((300, 500)))).any()


def test_kernels_have_the_standard_deviation_of_he_et_al():
    keras.utils.set_random_seed(0)
    first, second = (numpy(HeNormal()((3, 3, 3, 32, 64))) for _ in range(2))
    assert (first != second).any()
    deviation = (2 / (27 * 32)) ** 0.5
    assert first.std() == pytest.approx(deviation, rel=0.01)
    assert np.abs(first.mean()) < 0.02 * deviation
    assert np.abs(first).max() == pytest.approx(2 * deviation / 0.8796, rel=1e-3)
    layer = ClipConv(4, (1, 3, 3), kernel_initializer=HeNormal(seed=3))
    layer = keras.layers.deserialize(keras.layers.serialize(layer))
    layer.build((None, 2, 8, 8, 3))
    same = HeNormal(seed=3)((1, 3, 3, 3, 4))
    np.testing.assert_array_equal(numpy(layer.kernel), numpy(same))
