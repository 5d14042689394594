"""Each layer against a slow twin in NumPy."""

import keras
import numpy as np
import pytest
from harness import close, numpy

from stzoo.inference.predict import softmax
from stzoo.layers.attention import (
    DotProductAttention,
    QueryToken,
    SineCosinePositions,
    TubeletEmbedding,
    rotations,
)

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape).astype("float32")


@pytest.mark.parametrize("shape", [(4, 6, 8), (5, 7, 9), (2, 2, 3)])
def test_tubelets_are_those_of_a_strided_convolution(shape):
    x, size = draw(2, *shape, 3), (2, 2, 3)
    layer = TubeletEmbedding(5, size)
    answer = layer(x)
    layer.bias.assign(draw(5))
    kernel, bias = numpy(layer.kernel), numpy(layer.bias)
    grid = [n // s for n, s in zip(shape, size, strict=True)]
    expected = np.zeros((2, np.prod(grid), 5))
    for token, (t, h, w) in enumerate(np.ndindex(*grid)):
        cut = x[:, 2 * t : 2 * t + 2, 2 * h : 2 * h + 2, 3 * w : 3 * w + 3]
        expected[:, token] = np.tensordot(cut, kernel, 4) + bias
    close(layer(x), expected)
    assert answer.shape == layer.compute_output_shape(x.shape)


def test_clips_that_have_no_tubelet():
    with pytest.raises(ValueError, match=r"at least \(2, 16, 16\) frames.*\(1, 64"):
        TubeletEmbedding(8)(np.zeros((1, 1, 64, 64, 3)))
    with pytest.raises(ValueError, match="a fixed size. Received.*None"):
        TubeletEmbedding(8)(keras.Input((None, 64, 64, 3)))


def position(number, channels):
    return [
        (np.cos if j % 2 else np.sin)(number / 10_000 ** (2 * (j // 2) / channels))
        for j in range(channels)
    ]


def test_positions_count_all_tokens():
    x = draw(2, 12, 6)
    answer = numpy(SineCosinePositions((2, 3, 2))(x))
    expected = [position(number, 6) for number in range(12)]
    close(answer - x, np.broadcast_to(expected, x.shape))


def test_positions_of_another_grid_are_interpolated():
    table = np.array([position(number, 4) for number in range(6)]).reshape(2, 3, 4)
    low, high = table
    expected = [low, 0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high, high]
    longer = SineCosinePositions((4, 1, 3), (2, 1, 3))
    close(longer(np.zeros((1, 12, 4)))[0], np.concatenate(expected))
    shorter = SineCosinePositions((1, 1, 3), (2, 1, 3))
    close(shorter(np.zeros((1, 3, 4)))[0], (low + high) / 2)


def test_attention_of_many_tokens():
    """More scores than a backend may compute at once, and an uneven number of them."""
    query, key, value = draw(1, 1501, 4), draw(1, 1600, 4), draw(1, 1600, 4)
    answer = numpy(DotProductAttention(2)([query, key, value]))
    for part in (slice(0, 2), slice(2, 4)):
        scores = query[0][:, part] @ key[0][:, part].T / np.sqrt(2)
        close(answer[0][:, part], softmax(scores) @ value[0][:, part])


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_weighs_values(heads):
    query, key, value = draw(2, 3, 8), draw(2, 5, 8), draw(2, 5, 8)
    answer = DotProductAttention(heads)([query, key, value])
    expected = np.zeros((2, 3, 8))
    width = 8 // heads
    for batch, row, head in np.ndindex(2, 3, heads):
        part = slice(head * width, (head + 1) * width)
        scores = key[batch][:, part] @ query[batch, row, part] / np.sqrt(width)
        expected[batch, row, part] = softmax(scores) @ value[batch][:, part]
    close(answer, expected)


@pytest.mark.parametrize("channels", [8, 20, 32])
def test_rotary_positions_have_the_layout_of_the_weights(channels):
    grid = (2, 3, 2)
    query, key, value = (draw(1, 12, channels) for _ in range(3))

    def rotated(x):
        half = channels // 3 // 2
        y = x.copy()
        for token, position in enumerate(np.ndindex(*grid)):
            for axis, place in enumerate(position):
                for i in range(2 * half):  # pairs are neighbours, waves are not
                    at = axis * 2 * half + i
                    angle = place / 10_000 ** ((i % half) / half)
                    other = -x[0, token, at + 1] if i % 2 == 0 else x[0, token, at - 1]
                    y[0, token, at] = x[0, token, at] * np.cos(angle)
                    y[0, token, at] += other * np.sin(angle)
        return y

    answer = DotProductAttention(1, grid)([query, key, value])
    expected = DotProductAttention(1)([rotated(query), rotated(key), value])
    close(answer, numpy(expected))
    cosines, sines = rotations(grid, channels)
    rest = channels - 3 * 2 * (channels // 3 // 2)
    assert np.all(cosines[..., channels - rest :] == 1)
    assert np.all(sines[..., channels - rest :] == 0)


def test_heads_that_do_not_fit():
    with pytest.raises(ValueError, match="divisible by heads=3. Received: 8 channels"):
        DotProductAttention(3)([draw(1, 2, 8)] * 3)
    with pytest.raises(ValueError, match="must be even. Received: 3"):
        DotProductAttention(2, (1, 1, 2))([draw(1, 2, 6)] * 3)


def test_a_query_token_is_the_same_for_each_clip():
    layer = QueryToken()
    answer = numpy(layer(draw(3, 5, 8)))
    assert answer.shape == (3, 1, 8)
    assert np.ptp(answer, axis=0).max() == 0
    close(answer[0], numpy(layer.query_tokens)[0])


@pytest.mark.parametrize(
    "layer, shapes",
    [
        (TubeletEmbedding(4, (1, 2, 2)), [(2, 4, 4, 3)]),
        (SineCosinePositions((1, 2, 2), (2, 2, 2)), [(4, 8)]),
        (DotProductAttention(2, (1, 2, 2)), [(4, 16)] * 3),
        (QueryToken(), [(4, 8)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_survive_a_file(layer, shapes, tmp_path):
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = [draw(2, *shape) for shape in shapes]
    answer = model.predict(x, verbose=0)
    close(again.predict(x, verbose=0), answer)
    assert answer.shape == (2, *model.output_shape[1:])
