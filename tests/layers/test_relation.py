import keras
import numpy as np
import pytest
from harness import close, numpy, randomize
from twins import relation

from stzoo.layers import TemporalRelation
from stzoo.layers.relation import even_subsets

RNG = np.random.default_rng(0)


def built(frames, features=5, **kwargs):
    """Returns a layer, and its kernel and bias for each scale."""
    layer = TemporalRelation(6, **kwargs)
    layer.build((None, frames, features))
    randomize(layer)
    found = {weight.path: numpy(weight) for weight in layer.trainable_weights}
    weights = {
        scale: [
            next(w for path, w in found.items() if path.endswith(f"_{scale}/{kind}"))
            for kind in ("kernel", "bias")
        ]
        for scale in range(2, frames + 1)
    }
    return layer, weights


def clip(frames, features=5):
    return RNG.normal(size=(2, frames, features)).astype("float32")


@pytest.mark.parametrize("frames", [2, 3, 5, 8])
def test_relations_of_even_subsets_match_the_loop(frames):
    layer, weights = built(frames)
    x = clip(frames)
    expected = relation(
        x, weights, lambda scale, _: [(1, s) for s in even_subsets(frames, scale)]
    )
    close(layer(x), expected)
    close(layer(x, training=False), expected)


@pytest.mark.parametrize("frames", [2, 3, 5, 8])
def test_relations_of_all_subsets_are_three_times_their_mean(frames):
    layer, weights = built(frames, subsets="all")
    x = clip(frames)
    expected = relation(
        x, weights, lambda _, all: [(min(3, len(all)) / len(all), s) for s in all]
    )
    close(layer(x), expected)
    close(layer(x, training=True), expected)


def test_even_subsets_of_eight_frames():
    assert even_subsets(8, 2).tolist() == [[0, 4], [3, 7], [0, 7]]
    assert even_subsets(8, 3).tolist() == [[0, 2, 5], [2, 5, 7], [0, 4, 7]]
    assert even_subsets(8, 4).tolist() == [[0, 2, 4, 6], [1, 3, 5, 7], [0, 2, 5, 7]]
    assert even_subsets(8, 7).tolist() == [
        [0, 1, 2, 3, 4, 5, 6],
        [1, 2, 3, 4, 5, 6, 7],
        [0, 1, 2, 4, 5, 6, 7],
    ]
    assert even_subsets(8, 8).tolist() == [list(range(8))]


@pytest.mark.parametrize("frames", range(2, 17))
def test_even_subsets_are_different_and_ordered(frames):
    for scale in range(2, frames + 1):
        subsets = even_subsets(frames, scale)
        assert len({tuple(subset) for subset in subsets}) == (
            1 if scale == frames else 3
        )
        for subset in subsets:
            assert sorted(set(subset)) == list(subset)
            assert 0 <= subset[0] and subset[-1] < frames


@pytest.mark.parametrize(
    ("subsets", "training"), [("random", False), ("random", True), ("even", True)]
)
def test_three_different_subsets_are_drawn(subsets, training):
    """Each draw is a sum over three of the six pairs of four frames."""
    layer, weights = built(4, subsets=subsets, seed=1)
    x = clip(4)

    def output(chosen):
        return relation(
            x, {2: weights[2]}, lambda _, all: [(1, all[i]) for i in chosen]
        )

    triples = {
        (i, j, k): output((i, j, k))
        for i in range(6)
        for j in range(i)
        for k in range(j)
    }
    seen = set()
    for _ in range(60):
        answer = numpy(layer(x, training=training))[:, -6:]
        errors = {key: np.abs(answer - y).max() for key, y in triples.items()}
        key = min(errors, key=errors.get)
        assert errors[key] < 1e-4
        seen.add(key)
    assert len(seen) > 10  # of 20


def test_the_seed_decides_the_draws():
    x = clip(8)

    layer, _ = built(8, subsets="random", seed=5)
    weights = layer.get_weights()

    def draws(layer):
        if not layer.built:
            layer.build(x.shape)
            layer.set_weights(weights)
        return np.stack([numpy(layer(x)) for _ in range(3)])

    first = draws(layer)
    close(draws(TemporalRelation.from_config(layer.get_config())), first)
    other = TemporalRelation(6, "random", seed=6)
    assert np.abs(draws(other) - first).max() > 1e-3


@pytest.mark.parametrize("subsets", ["even", "random", "all"])
@pytest.mark.parametrize("frames", [2, 5])
def test_layer_satisfies_the_contract_of_keras(frames, subsets):
    """Saved models are those of `trn_tiny`. A compiled model trains every weight."""
    layer = TemporalRelation(6, subsets=subsets, name="relation")
    x = clip(frames)
    answer = numpy(layer(x))
    assert layer.compute_output_shape(x.shape) == answer.shape == (2, 6 * (frames - 1))
    copy = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert copy.get_config() == layer.get_config()
    half = TemporalRelation(6, dtype="mixed_bfloat16")(x)
    assert keras.backend.standardize_dtype(half.dtype) == "bfloat16"
    model = keras.Sequential([keras.Input((frames, 5)), layer])
    model.compile("sgd", "mse")
    before = [numpy(weight) for weight in layer.trainable_weights]
    model.fit(x, np.zeros_like(answer), verbose=0)
    for weight, old in zip(layer.trainable_weights, before, strict=True):
        assert (numpy(weight) != old).any(), weight.path


@pytest.mark.parametrize(
    ("kwargs", "shape", "message"),
    [
        ({"subsets": "some"}, (2, 4, 5), 'must be "even", "random" or "all". Rec'),
        ({}, (2, 1, 5), "from 2 to 16. Received: input_shape=.None, 1, 5"),
        ({}, (2, 17, 5), "from 2 to 16"),
        ({}, (2, None, 5), "fixed number of frames"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(kwargs, shape, message):
    with pytest.raises(ValueError, match=message):
        TemporalRelation(**kwargs)(keras.Input(shape[1:]))
