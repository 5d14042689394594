import keras
import numpy as np
import pytest
from harness import PRECISION, close, gradients, numpy, precision
from keras import ops
from twins import compact_bilinear

from stzoo.layers import AttentionPooling, Pyramid, SpatiotemporalCompactBilinear

RNG = np.random.default_rng(0)


def arrays(*widths, shape=(2, 1, 3, 4)):
    return [RNG.normal(size=(*shape, width)).astype("float32") for width in widths]


def sketched(layer, inputs):
    """Computes the NumPy twin with the hashes and signs of a layer."""
    hashes, signs = map(numpy, layer.hashes), map(numpy, layer.signs)
    return compact_bilinear([x.astype(float) for x in inputs], hashes, signs, layer.dim)


def check(layer, inputs, tmp_path):
    """Checks the contract of Keras for a layer with several inputs."""
    answer = numpy(layer(inputs))
    assert layer.compute_output_shape([x.shape for x in inputs]) == answer.shape
    assert layer.__class__.from_config(layer.get_config()).get_config() == (
        layer.get_config()
    )
    symbols = [keras.Input((*[None] * (x.ndim - 2), x.shape[-1])) for x in inputs]
    model = keras.Model(symbols, layer(symbols))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    close(loaded.predict(inputs, verbose=0), answer)
    with precision(PRECISION):
        half = layer.__class__.from_config({**layer.get_config(), "dtype": PRECISION})
        found = half([ops.cast(x, "bfloat16") for x in inputs])
        assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
        half.set_weights(layer.get_weights())
        exact = half(inputs)  # the input is not rounded
        np.testing.assert_allclose(
            numpy(ops.cast(exact, "float32")), answer, rtol=2**-8, atol=1e-6
        )
    if not layer.trainable_weights:
        return
    before = [numpy(weight) for weight in layer.weights]
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.fit(inputs, np.zeros_like(answer), verbose=0)
    for weight, old in zip(layer.weights, before, strict=True):
        assert (numpy(weight) != old).any(), weight.path


@pytest.mark.parametrize("dim", [16, 15, 1, 40])
@pytest.mark.parametrize("widths", [(12, 7), (5, 8, 6), (3, 3, 3, 3)], ids=str)
def test_output_is_the_circular_convolution_of_the_sketches(widths, dim):
    layer, inputs = SpatiotemporalCompactBilinear(dim, seed=3), arrays(*widths)
    close(layer(inputs), sketched(layer, inputs))


def test_vectors_and_maps():
    """Each location is fused independently."""
    layer, maps = SpatiotemporalCompactBilinear(16), arrays(8, 6)
    fused = numpy(layer(maps))
    close(layer([x[:, 0, 1, 2] for x in maps]), fused[:, 0, 1, 2])


def test_inner_products_are_those_of_the_outer_products():
    """This holds on average, and is the purpose of a sketch."""
    x, y = arrays(20, 30, shape=(1,))
    squares = [
        (numpy(SpatiotemporalCompactBilinear(512, seed)([x, y])) ** 2).sum()
        for seed in range(50)
    ]
    expected = (np.outer(x, y) ** 2).sum()
    assert abs(np.mean(squares) / expected - 1) < 0.2


def test_hashes_depend_on_the_seed_and_are_saved():
    inputs = arrays(8, 8)
    one, same, other = (SpatiotemporalCompactBilinear(64, s) for s in (1, 1, 2))
    answer = numpy(one(inputs))
    np.testing.assert_array_equal(numpy(same(inputs)), answer)
    assert np.abs(numpy(other(inputs)) - answer).max() > 0.1
    assert (numpy(one.hashes[0]) != numpy(one.hashes[1])).any()
    assert set(numpy(one.signs[0])) <= {-1.0, 1.0}
    assert not one.trainable_weights
    other.set_weights(one.get_weights())
    np.testing.assert_array_equal(numpy(other(inputs)), answer)


@pytest.mark.parametrize("widths", [(4, 3), (3, 4, 2)], ids=str)
def test_gradients_match_finite_differences(widths):
    layer = SpatiotemporalCompactBilinear(8)
    inputs = arrays(*widths, shape=(2, 3))
    layer(inputs)
    weights = RNG.normal(size=(2, 3, 8))

    def loss(*given):
        return ops.multiply(layer(list(given)), weights.astype("float32"))

    for number, found in enumerate(gradients(loss, *inputs)):
        expected = np.zeros(inputs[number].shape)
        for place in np.ndindex(expected.shape):
            sides = []
            for step in (1e-4, -1e-4):
                moved = [x.astype(float) for x in inputs]
                moved[number][place] += step
                sides.append((sketched(layer, moved) * weights).sum())
            expected[place] = (sides[0] - sides[1]) / 2e-4
        close(found, expected)


def test_normalize_divides_by_the_root_mean_square():
    plain, layer = (SpatiotemporalCompactBilinear(32, normalize=n) for n in (0, 1))
    inputs = arrays(8, 6)
    y = numpy(plain(inputs)).astype(float)
    close(layer(inputs), y / np.sqrt((y**2).mean(-1, keepdims=True)))
    zeros = [np.zeros_like(x) for x in inputs]
    assert not numpy(layer(zeros)).any()
    assert all(np.isfinite(g).all() for g in gradients(lambda *x: layer(x), *zeros))


def test_fusion_satisfies_the_contract_of_keras(tmp_path):
    check(SpatiotemporalCompactBilinear(16, 5), arrays(8, 6, 4), tmp_path)


def test_attention_is_the_weighted_mean():
    layer, (x, pair) = AttentionPooling(5), arrays(6, 8)
    answer = numpy(layer([x, pair]))
    hidden = pair @ numpy(layer.conv1.kernel) + numpy(layer.conv1.bias)
    scores = (np.maximum(hidden, 0) @ numpy(layer.conv2.kernel))[..., 0]
    powers = np.exp(scores)
    weights = powers / powers.sum((1, 2, 3), keepdims=True)
    close(layer.weigh(pair), weights)
    close(answer, (x * weights[..., None]).sum((1, 2, 3)))


def test_attention_satisfies_the_contract_of_keras(tmp_path):
    keras.utils.set_random_seed(0)
    check(AttentionPooling(6), arrays(6, 8), tmp_path)


@pytest.mark.parametrize("sizes", [(6, 8), (None, None)], ids=str)
def test_pyramid_splits_the_clip(sizes, tmp_path):
    clip = RNG.integers(0, 256, (2, 12, 6, 8, 5)).astype("uint8")
    inputs = keras.Input((12, *sizes, 5))
    model = keras.Model(inputs, Pyramid(4)(inputs))
    model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    frame, flow = model.predict(clip, verbose=0)
    np.testing.assert_array_equal(frame, clip[:, 4:5, ..., :3])
    assert model.output_shape[1] == (None, 3, *sizes, 8)
    for snippet, t, axis in np.ndindex(3, 4, 2):
        np.testing.assert_array_equal(
            flow[:, snippet, ..., 2 * t + axis], clip[:, 4 * snippet + t, ..., 3 + axis]
        )
    (alone,) = Pyramid(4)(clip[..., 3:])
    np.testing.assert_array_equal(numpy(alone), flow)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SpatiotemporalCompactBilinear(0),
            "dim must be an integer, at least 1",
        ),
        (lambda: SpatiotemporalCompactBilinear(8, seed=-1), "seed must be an integer"),
        (
            lambda: SpatiotemporalCompactBilinear(8)(arrays(4)),
            "two or more inputs.* Received: \\(2, 1, 3, 4, 4\\)",
        ),
        (
            lambda: SpatiotemporalCompactBilinear(8)(arrays(4)[0]),
            "Expected a list of two or more inputs",
        ),
        (
            lambda: AttentionPooling()([np.ones((2, 3, 3, 4)), np.ones((2, 3, 2, 4))]),
            "whose shapes differ in the channels only",
        ),
        (lambda: Pyramid(4)(np.ones((1, 10, 2, 2, 5))), "a multiple of 4 frames"),
        (lambda: Pyramid(4)(np.ones((1, 8, 2, 2, 3))), "must have 2 or 5 channels"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
