import keras
import numpy as np
import pytest
from harness import check_layer, close, gradients, numpy
from twins import cost_a, cost_b, cost_views

from stzoo.layers import CoST, cost
from stzoo.layers.cost import ComposedCoST, compose

RNG = np.random.default_rng(0)


def built(x, filters=4, **kwargs):
    """A layer whose coefficients are far from their initial values."""
    layer = CoST(filters, **kwargs)
    layer.build(x.shape)
    layer.set_weights([RNG.normal(size=w.shape) for w in layer.weights])
    return layer


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(4, 6, 8), (3, 5, 7)], ids=str)
def test_variant_a_matches_the_equation(shape, size, stride):
    x = RNG.normal(size=(2, *shape, 3)).astype("float32")
    layer = built(x, kernel_size=size, strides=stride, variant="a")
    close(layer(x), cost_a(x, *map(numpy, layer.weights), stride))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(4, 6, 8), (1, 5, 7), (3, 1, 1)], ids=str)
def test_variant_a_is_one_convolution(shape, size, stride):
    x = RNG.normal(size=(2, *shape, 3)).astype("float32")
    layer = built(x, kernel_size=size, strides=stride, variant="a")
    views = [layer.kernel * share for share in layer.coefficients()]
    one = ComposedCoST(4, (size,) * 3, stride, use_bias=True)
    one.build(x.shape)
    one.set_weights([numpy(compose(views)), np.array([1, 2, 3, 4])])
    close(one(x), numpy(layer(x)) + [1, 2, 3, 4])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(4, 6, 8), (3, 5, 7)], ids=str)
def test_variant_b_matches_the_equation(shape, stride):
    x = RNG.normal(size=(2, *shape, 3)).astype("float32")
    layer = built(x, strides=(1, stride, stride), variant="b")
    close(layer(x), cost_b(x, *map(numpy, layer.weights), stride))


@pytest.mark.parametrize("stride", [1, 2])
def test_composed_kernel_equals_three_views(stride, monkeypatch):
    """Outputs and gradients equal those of the views weighted one by one."""
    x = RNG.normal(size=(2, 4, 6, 8, 3)).astype("float32")
    layer = built(x, strides=stride, variant="a")
    arrays = [x, *map(numpy, layer.weights)]

    def run(x, kernel, alpha):
        with keras.StatelessScope([(layer.kernel, kernel), (layer.alpha, alpha)]):
            return layer(x)

    def weighted(x, kernel, alpha):
        x, kernel = map(keras.ops.convert_to_tensor, (x, kernel))
        weights = keras.ops.softmax(alpha, axis=0)
        return sum(
            weights[i] * layer._view(x, kernel, view)
            for i, view in enumerate(cost.VIEWS)
        )

    found = {}
    for composes in (True, False):
        monkeypatch.setattr(cost, "_composes", lambda x, filters, c=composes: c)
        close(run(*arrays), weighted(*arrays))
        found[composes] = gradients(lambda *a: run(*a) ** 2, *arrays)
    expected = gradients(lambda *a: weighted(*a) ** 2, *arrays)
    for composed, three, truth in zip(found[True], found[False], expected, strict=True):
        close(composed, truth)
        close(three, truth)


def test_composed_kernel_has_19_nonzero_positions():
    """Section 3.4: 3k^2 - 3k + 1 for k = 3."""
    composed = numpy(cost.compose([keras.ops.ones((3, 3, 1, 1))] * 3))
    assert np.count_nonzero(composed) == 19


def test_initial_coefficients_favour_height_width():
    layer = CoST(4, variant="a")
    layer.build((None, 4, 6, 8, 3))
    expected = np.repeat([[0.6697], [0.1652], [0.1652]], 4, axis=1)
    np.testing.assert_allclose(numpy(layer.coefficients()), expected, atol=1e-4)


def test_coefficients_weight_the_views():
    x = RNG.normal(size=(2, 4, 6, 8, 3)).astype("float32")
    layer = built(x, strides=2)
    weights = numpy(layer.coefficients(keras.ops.convert_to_tensor(x))).swapaxes(0, 1)[
        :, :, None, None, None
    ]
    close(layer(x), (weights * cost_views(x, numpy(layer.kernel), 2)).sum(0))
    with pytest.raises(ValueError, match='depend on the clip .variant "b".'):
        layer.coefficients()


@pytest.mark.parametrize("variant", ["a", "b"])
def test_layer_satisfies_the_contract_of_keras(variant, tmp_path):
    x = RNG.normal(size=(2, 4, 6, 8, 3)).astype("float32")
    check_layer(CoST(4, strides=2, variant=variant), x, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "one odd number"),
        ({"strides": (2, 1, 1)}, "strides in space only"),
        ({"variant": "c"}, 'must be "a" or "b"'),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CoST(4, **arguments)


@pytest.fixture
def graph():
    """The operations of TensorFlow for a CoST with strides."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("about TensorFlow's graphs")
    import tensorflow as tf

    layer = CoST(3, strides=2)
    call = tf.function(layer).get_concrete_function(tf.zeros((1, 4, 8, 8, 3)))
    return call.graph.get_operations()


def test_tensorflow_can_optimise_the_gradients(graph):
    """With `Pad` before Conv3D it gives up on a graph: "remapper failed"."""
    kinds = {operation.type for operation in graph}
    assert "Conv3D" in kinds and "Pad" not in kinds


def test_no_clip_is_sliced_on_tensorflow(graph):
    """A slice with a stride takes longer than the convolution."""
    for operation in graph:
        if operation.type == "StridedSlice":
            assert len(operation.outputs[0].shape) < 5, operation.name
