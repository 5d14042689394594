import itertools

import keras
import numpy as np
import pytest
from harness import numpy, precision

from stzoo.layers import BatchNorm, ClipConv
from stzoo.layers.dropout import Dropout
from stzoo.layers.network import Network
from stzoo.layers.plan import make_plan
from stzoo.layers.rematerialization import cut


def residual(count):
    """A graph with batch norms, dropout and shortcuts."""
    inputs = x = keras.Input((2, 6, 6, 3))
    x = ClipConv(4, (1, 3, 3), name="stem")(x)
    for i in range(count):
        y = ClipConv(4, (3, 3, 3), name=f"conv{i}")(x)
        y = BatchNorm(name=f"norm{i}")(y)
        y = Dropout(0.3, seed=i, name=f"dropout{i}")(y)
        x = keras.layers.Add(name=f"add{i}")([x, y])
        x = keras.layers.ReLU(name=f"relu{i}")(x)
    x = keras.layers.GlobalAveragePooling3D(name="pool")(x)
    return Network(inputs, keras.layers.Dense(3, name="fc")(x))


def two_streams():
    inputs = keras.Input((2, 6, 6, 3))
    ends = []
    for stream in "ab":
        x = inputs
        for i in range(3):
            x = ClipConv(4, (1, 3, 3), name=f"{stream}{i}")(x)
            x = keras.layers.ReLU(name=f"relu_{stream}{i}")(x)
        ends.append(keras.layers.GlobalAveragePooling3D(name=f"pool_{stream}")(x))
    x = keras.layers.Concatenate(name="join")(ends)
    return Network(inputs, keras.layers.Dense(3, name="fc")(x))


def trained(model, start, rematerialize):
    """Trains for three steps. Returns the losses and all variables."""
    for variable, value in zip(model.variables, start, strict=True):
        variable.assign(value)
    model.rematerialize = rematerialize
    model.compile(keras.optimizers.SGD(0.05), "mse")
    rng = np.random.default_rng(0)
    losses = [
        float(
            model.train_on_batch(rng.random((4, 2, 6, 6, 3), "f4"), rng.random((4, 3)))
        )
        for _ in range(3)
    ]
    return losses, [numpy(variable) for variable in model.variables]


@pytest.mark.parametrize("build", [lambda: residual(4), two_streams])
def test_training_has_the_same_result(build):
    """So dropout drops the same, and the statistics of norms change once in a step."""
    model = build()
    start = [numpy(variable) for variable in model.variables]
    losses, variables = trained(model, start, False)
    assert not model.rematerialize
    again, others = trained(model, start, True)
    assert model.rematerialize
    np.testing.assert_allclose(again, losses, rtol=1e-5)
    assert len(set(losses)) == 3
    for variable, *values in zip(
        model.variables, start, variables, others, strict=True
    ):
        first, value, other = values
        np.testing.assert_allclose(other, value, 1e-4, 1e-6, err_msg=variable.path)
        assert (other != first).any(), variable.path


def test_mixed_precision_rounds_no_more():
    """The head computes in float32, also with its kernel."""
    with precision("mixed_bfloat16"):
        inputs = x = keras.Input((2, 6, 6, 3))
        for i in range(3):
            x = ClipConv(4, (1, 3, 3), name=f"conv{i}")(x)
            x = keras.layers.ReLU(name=f"relu{i}")(x)
        x = keras.layers.GlobalAveragePooling3D(dtype="float32", name="pool")(x)
        model = Network(inputs, keras.layers.Dense(3, dtype="float32", name="fc")(x))
        assert model.compute_dtype == "bfloat16"
        x = np.random.default_rng(0).random((4, 2, 6, 6, 3), "float32")
        expected = numpy(model(x, training=True))
        model.rematerialize = True
        np.testing.assert_array_equal(numpy(model(x, training=True)), expected)


def test_a_switch_counts_after_training_began():
    model, runs = residual(2), []
    model.get_layer("relu0").call = lambda x: runs.append(1) or keras.ops.relu(x)
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    x, y = np.zeros((1, 2, 6, 6, 3)), np.zeros((1, 3))
    model.train_on_batch(x, y)
    counts = []
    for rematerialize in (False, True, False):
        model.rematerialize = rematerialize
        runs.clear()
        model.train_on_batch(x, y)
        counts.append(len(runs))
    once, again, last = counts
    assert once == last
    if keras.backend.backend() != "jax":  # which repeats what it traced
        assert again == once + 1


def test_parts_follow_each_other():
    plan = make_plan(residual(5))
    found = cut(plan)
    assert len(found) > 2
    steps = [step for part in found for step in part.steps]
    assert [step.layer.name for step in steps] == [
        step.layer.name for step in plan.steps
    ]
    assert found[0].inputs == (id(plan.start),)
    assert found[-1].outputs == (id(plan.end),)
    for one, following in itertools.pairwise(found):
        assert one.outputs == following.inputs
        assert len(one.outputs) == 1, "not within a shortcut"
        last = one.steps[-1].layer.name
        assert last == "stem" or last.startswith(("relu", "add", "pool"))


def test_two_streams_are_cut_where_two_tensors_pass():
    found = cut(make_plan(two_streams()))
    assert len(found) > 2
    assert 2 in {len(part.outputs) for part in found}


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="others do not show what is kept"
)
def test_fewer_tensors_are_kept():
    import torch

    kept = {}
    model = residual(16)
    x = torch.rand(2, 2, 6, 6, 3)
    for rematerialize in (False, True):
        model.rematerialize, saved = rematerialize, {}

        def note(tensor, saved=saved):
            saved[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            logits = model(x, training=True)
        kept[rematerialize] = sum(saved.values())
        logits.sum().backward()
    assert kept[True] < kept[False] / 2


def test_a_graph_that_cannot_be_cut_is_refused():
    inputs = keras.Input((2, 6, 6, 3))
    layer = ClipConv(3, (1, 3, 3), name="shared")
    model = Network(inputs, layer(layer(inputs)), name="twice")
    with pytest.raises(ValueError, match="The model 'twice' cannot be rematerialized"):
        model.rematerialize = True
    assert not model.rematerialize
