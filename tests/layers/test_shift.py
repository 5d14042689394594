import keras
import numpy as np
import pytest
from harness import check_layer, close, gradients, numpy, randomize
from keras import ops
from twins import gate_shift, temporal_shift

from stzoo.layers import ChannelAttention, GateShift, TemporalShift

RNG = np.random.default_rng(0)
SHAPES = pytest.mark.parametrize("shape", [(4, 6, 8), (3, 5, 7), (1, 4, 4)], ids=str)


def gate(shape, layer=None):
    """Returns an open gate whose batch norm is far from its initial state."""
    layer = layer or GateShift()
    layer.build(shape)
    randomize(layer)
    return layer


@SHAPES
def test_temporal_shift_matches_the_loop(shape):
    x = RNG.normal(size=(2, *shape, 16)).astype("float32")
    close(TemporalShift()(x), temporal_shift(x), 0)
    close(TemporalShift(4)(x), temporal_shift(x, 4), 0)


@SHAPES
def test_online_shift_matches_the_loop(shape):
    x = RNG.normal(size=(2, *shape, 16)).astype("float32")
    expected = x.copy()
    for t in range(shape[0]):
        expected[:, t, ..., :2] = x[:, t - 1, ..., :2] if t else 0
    close(TemporalShift(online=True)(x), expected, 0)


@pytest.mark.parametrize("ends", [(1, 2, 3, 4, 5), (2, 5), (4, 5)], ids=str)
def test_online_shift_takes_frames_in_parts(ends):
    x = RNG.normal(size=(2, 5, 4, 6, 8)).astype("float32")
    layer = TemporalShift(4, online=True)
    previous, parts = None, []
    for start, end in zip((0, *ends[:-1]), ends, strict=True):
        part = ops.convert_to_tensor(x[:, start:end])
        parts.append(numpy(layer(part, previous=previous)))
        previous = layer.last_part(part)
        np.testing.assert_array_equal(numpy(previous), x[:, end - 1 : end, ..., :2])
    close(np.concatenate(parts, axis=1), layer(x), 0)


def test_online_shift_has_a_symbolic_previous_part():
    frame, previous = keras.Input((1, 4, 6, 8)), keras.Input((1, 4, 6, 1))
    layer = TemporalShift(online=True)
    step = keras.Model(
        [frame, previous], [layer(frame, previous=previous), layer.last_part(frame)]
    )
    x = RNG.normal(size=(2, 1, 4, 6, 8)).astype("float32")
    before = RNG.normal(size=(2, 1, 4, 6, 1)).astype("float32")
    answer, kept = step.predict([x, before], verbose=0)
    np.testing.assert_array_equal(answer[..., :1], before)
    np.testing.assert_array_equal(answer[..., 1:], x[..., 1:])
    np.testing.assert_array_equal(kept, x[..., :1])


def test_coefficients_are_the_gated_fractions():
    x = RNG.normal(size=(2, 3, 4, 5, 8)).astype("float32")
    layer = gate(x.shape)
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    layer.bias.assign(np.arctanh([0.25, -0.5]))  # of the first half, of the second
    found = numpy(layer.coefficients(ops.convert_to_tensor(x)))
    expected = np.array([[0.75, 0.5], [0.25, 0.5]])  # kept, shifted
    np.testing.assert_allclose(found, [expected] * 2, atol=1e-6)
    with pytest.raises(ValueError, match="depend on the clip. Pass clips"):
        layer.coefficients()


@SHAPES
def test_gate_shift_matches_the_loop(shape):
    x = RNG.normal(size=(2, *shape, 8)).astype("float32")
    layer = gate(x.shape)
    values = {weight.path.split("/")[-1]: numpy(weight) for weight in layer.weights}
    expected = gate_shift(
        x.astype("float64"),
        values["gamma"],
        values["beta"],
        values["moving_mean"],
        values["moving_variance"],
        values["kernel"],
        values["bias"],
    )
    close(layer(x), expected)


def test_closed_gates_only_shuffle():
    x = np.tile(np.arange(8, dtype="float32"), (1, 3, 2, 2, 1))
    answer = numpy(GateShift()(x))
    np.testing.assert_array_equal(answer, x[..., [0, 2, 1, 3, 4, 6, 5, 7]])


def test_gradients_pass_through_the_shift():
    """Only values that are shifted out of the clip have no gradient."""
    x = np.ones((1, 3, 2, 2, 8), "float32")
    (found,) = gradients(TemporalShift(), x)
    assert found[0, :, 0, 0, 0].tolist() == [0, 1, 1]
    assert found[0, :, 0, 0, 1].tolist() == [1, 1, 0]
    assert found[0, :, 0, 0, 2].tolist() == [1, 1, 1]


def test_channel_attention_matches_the_equation():
    x = RNG.normal(size=(2, 3, 4, 5, 8)).astype("float32")
    layer = ChannelAttention(2)
    layer.build(x.shape)
    randomize(layer)
    w1, b1, w2, b2 = map(numpy, layer.weights)
    hidden = np.maximum(x.mean((1, 2, 3)) @ w1 + b1, 0)
    weights = 1 / (1 + np.exp(-(hidden @ w2 + b2)))
    close(layer(x), x * weights[:, None, None, None])


@pytest.mark.parametrize(
    "make",
    [
        TemporalShift,
        lambda: TemporalShift(4, online=True),
        lambda: gate((2, 4, 6, 8, 8)),
        lambda: ChannelAttention(2),
    ],
    ids=["tsm", "online", "gate", "attention"],
)
def test_layers_satisfy_the_contract_of_keras(make, tmp_path):
    check_layer(make(), RNG.normal(size=(2, 4, 6, 8, 8)).astype("float32"), tmp_path)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="divisor must be an integer, at least 2"):
        TemporalShift(1)
    x = np.zeros((1, 2, 4, 4, 8), "float32")
    with pytest.raises(ValueError, match="also takes channels from the next frame"):
        TemporalShift()(x, previous=x[:, :1, ..., :1])
    with pytest.raises(ValueError, match="must be divisible by 4"):
        GateShift()(np.zeros((1, 2, 4, 4, 6)))
