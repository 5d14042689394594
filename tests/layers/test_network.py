import copy
import dataclasses
import gc
import inspect
import pickle
import weakref

import keras
import numpy as np
import onnxruntime
import openvino
import pytest
from harness import close, numpy

import stzoo
from stzoo.layers import BatchNorm, ClipConv, plan
from stzoo.layers.network import Network

only_torch = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="others run as a graph"
)


class Log:
    """Weak references to the outputs of layers, and how many were alive at the end."""

    def __init__(self):
        self.results, self.alive = [], []

    def note(self, outputs):
        if keras.backend.backend() == "torch":
            gc.collect()  # Keras leaves cycles around lists of tensors
        self.alive = [
            i for i, result in enumerate(self.results) if result() is not None
        ]
        self.results.append(weakref.ref(outputs))


class Double(keras.layers.Layer):
    def __init__(self, log, **kwargs):
        super().__init__(**kwargs)
        self.log = log

    def call(self, inputs):
        outputs = inputs * 2
        self.log.note(outputs)
        return outputs


def graph(log):
    """Two residual units of two layers."""
    inputs = x = keras.Input((3,))
    for _ in range(2):
        y = Double(log)(Double(log)(x))
        x = keras.layers.Add()([x, y])
    return inputs, keras.layers.Add()([x, x])


def test_outputs_equal_those_of_a_keras_model():
    x = np.arange(6, dtype="float32").reshape(2, 3)
    network = Network(*graph(Log()), name="units")
    close(network(x), 50 * x)
    close(network.predict(x, verbose=0), 50 * x)
    close(keras.Model(*graph(Log()))(x), 50 * x)


def test_training_equals_that_of_a_keras_model():
    """Layers receive `training`, and their extra losses are added."""
    inputs = keras.Input((3,))
    norm = keras.layers.BatchNormalization(momentum=0.5, activity_regularizer="l2")
    network = Network(inputs, keras.layers.Dropout(1 - 1e-7)(norm(inputs)))
    x = np.arange(6, dtype="float32").reshape(2, 3)
    close(network(x), x / np.sqrt(1 + 1e-3))
    close(norm.moving_mean, np.zeros(3))
    close(network(x, training=True), np.zeros((2, 3)))
    close(norm.moving_mean, x.mean(0) / 2)
    assert len(network.losses) == 1


def test_it_computes_in_the_requested_dtype():
    inputs = keras.Input((3,))
    dense = keras.layers.Dense(2, dtype="mixed_bfloat16")
    assert (
        keras.backend.standardize_dtype(
            Network(inputs, dense(inputs))(np.ones((1, 3), "float32")).dtype
        )
        == "bfloat16"
    )


@only_torch
def test_it_calls_the_hooks_of_a_user():
    network = Network(*graph(Log()))
    seen = []
    network.layers[1].register_forward_hook(lambda *args: seen.append(args[0].name))
    network(np.ones((2, 3), "float32"))
    assert seen == [network.layers[1].name]


@only_torch
def test_it_holds_only_tensors_that_are_still_needed():
    log = Log()
    network = Network(*graph(log))
    log.results.clear()
    network(np.ones((2, 3), "float32"))
    assert log.alive == [2]  # the input of the last unit, not that of the first


@only_torch
def test_it_frees_gradients_before_a_step():
    inputs = keras.Input((3,))
    dense = keras.layers.Dense(1)
    network = Network(inputs, dense(inputs))
    network.compile(keras.optimizers.SGD(0.5), "mse")
    held = []
    dense.register_forward_pre_hook(lambda *_: held.append(dense.kernel.value.grad))
    x = np.ones((2, 3), "float32")
    for _ in range(2):
        network.train_on_batch(x, x[:, :1])
    assert held == 3 * [None], "one while building, two while training"
    assert dense.kernel.value.grad is not None


@pytest.fixture(scope="module")
def model():
    small = dict(width=4, depths=(1, 1), input_shape=(4, 32, 32, 3))
    model = stzoo.cost_tiny(classes=3, **small)
    model.stzoo = dataclasses.replace(model.stzoo, labels=("a", "b", "c"))
    return model


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_the_record_survives_files(model, suffix, tmp_path):
    x = np.random.default_rng(0).random((2, 4, 32, 32, 3))
    model.save(tmp_path / f"model.{suffix}")
    copy = keras.saving.load_model(tmp_path / f"model.{suffix}")
    assert copy.stzoo == model.stzoo and copy.stzoo.labels == ("a", "b", "c")
    close(copy(x), model(x))


def test_the_record_survives_copies(model):
    for copied in (
        keras.models.clone_model(model),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
    ):
        assert copied.stzoo == model.stzoo


def test_two_models_can_share_a_graph(tmp_path):
    small = dict(width=4, depths=(1, 1), input_shape=(4, 32, 32, 3))
    one, other = (stzoo.cost_tiny(classes=3, name=name, **small) for name in "ab")
    x = np.random.default_rng(0).random((2, 4, 32, 32, 3)).astype("float32")
    inputs = keras.Input(x.shape[1:])
    both = keras.Model(inputs, (one(inputs) + other(inputs)) / 2)
    close(both(x), (numpy(one(x)) + numpy(other(x))) / 2)
    both.save(tmp_path / "both.keras")
    close(keras.saving.load_model(tmp_path / "both.keras")(x), both(x))
    stzoo.save(one, tmp_path / "one")
    close(stzoo.load(tmp_path / "one")(x), one(x))


@pytest.fixture
def calls(monkeypatch):
    """The names of the layers that run through `keras.Layer.__call__`."""
    names, run = [], keras.Layer.__call__

    def call(layer, *args, **kwargs):
        names.append(layer.name)
        return run(layer, *args, **kwargs)

    monkeypatch.setattr(keras.Layer, "__call__", call)
    return names


def hide_from_network(monkeypatch, name):
    """Hides an attribute of layers from `stzoo.layers.plan`.

    Keras and PyTorch themselves still find it.
    """
    read = keras.Layer.__getattribute__

    def hidden(layer, asked):
        reader = inspect.currentframe().f_back.f_globals["__name__"]
        if asked == name and reader == plan.__name__:
            raise AttributeError(asked)
        return read(layer, asked)

    monkeypatch.setattr(keras.Layer, "__getattribute__", hidden)


def take_away(monkeypatch, missing):
    """Removes a private part of Keras or PyTorch."""
    match missing:
        case "version":
            monkeypatch.setattr(plan, "READ_VERSIONS", ())
        case "clone_model":
            monkeypatch.delattr(keras.models, "clone_model")
        case "_has_any_global_hook":
            torch = pytest.importorskip("torch")
            monkeypatch.delattr(torch.nn.modules.module, "_has_any_global_hook")
        case str():
            hide_from_network(monkeypatch, missing)


def small_graph():
    inputs = keras.Input((2, 4, 4, 3))
    x = ClipConv(4, (3, 3, 3), name="conv")(inputs)
    x = BatchNorm(name="norm")(x)
    return inputs, keras.layers.Dropout(0.5, seed=0, name="dropout")(x)


def results(model, start, x):
    """Returns the outputs without and with training, and the variables after that."""
    for variable, value in zip(model.variables, start, strict=True):
        variable.assign(value)
    answer, trained = numpy(model(x)), numpy(model(x, training=True))
    return answer, trained, [numpy(variable) for variable in model.variables]


PRIVATE = ("version", "clone_model", "_has_any_global_hook", *plan.EXTRAS)


@pytest.mark.parametrize("missing", [None, *PRIVATE])
def test_results_do_not_depend_on_private_parts_of_keras(monkeypatch, calls, missing):
    """Where a part is missing, Keras runs the layers."""
    take_away(monkeypatch, missing)
    model = Network(*small_graph())
    start = [numpy(variable) for variable in model.variables]
    x = np.random.default_rng(0).random((2, 2, 4, 4, 3), "float32")
    calls.clear()
    answer, trained, variables = results(model, start, x)
    short = keras.backend.backend() == "torch" and missing is None
    assert short != {"conv", "norm", "dropout"}.issubset(calls)

    plain = keras.Model(model.input, model.output)
    expected, expected_trained, expected_variables = results(plain, start, x)
    close(answer, expected)
    close(trained, expected_trained)
    assert (answer != 0).all() and (trained == 0).any(), "dropout drops in training"
    for found, value in zip(variables, expected_variables, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-5)
    norm = model.get_layer("norm")
    assert (numpy(norm.moving_mean) != 0).all()
    assert (numpy(norm.moving_variance) != 1).all()


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="Keras exports no ONNX")
@pytest.mark.filterwarnings("ignore")  # of tf2onnx and of PyTorch's exporter
def test_a_model_that_was_never_called_exports_any_batch(tmp_path):
    small = dict(width=4, depths=(1, 1), input_shape=(4, 32, 32, 3))
    model = stzoo.fuse(stzoo.c2d_tiny(classes=3, **small))
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for batch in (1, 3):
        x = np.random.default_rng(batch).random((batch, 4, 32, 32, 3)).astype("float32")
        (answer,) = session.run(None, {session.get_inputs()[0].name: x})
        close(answer, model(x), tolerance=1e-4)


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="OpenVINO cannot read what JAX traces"
)
@pytest.mark.parametrize(
    ("name", "options", "fused"),
    [
        ("c2d_tiny", {}, True),
        pytest.param("cost_tiny", {"variant": "a"}, False, marks=pytest.mark.slow),
        pytest.param("p3d_tiny", {}, True, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of OpenVINO and of PyTorch's tracing
def test_openvino_takes_any_batch(name, options, fused, tmp_path):
    """These networks have strides in 1x1 convolutions and shortcuts."""
    shape = (16 if name == "p3d_tiny" else 4, 32, 32, 3)
    small = dict(width=4, depths=(1, 1), input_shape=shape)
    model = stzoo.create(name, classes=3, **small, **options)
    model = stzoo.fuse(model) if fused else model
    model.export(tmp_path / "model.xml", format="openvino", verbose=False)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(tmp_path / "model.xml", "CPU", exact)
    for batch in (1, 2, 3):
        x = 255 * np.random.default_rng(batch).random((batch, *shape), "float32")
        close(compiled(x)[0], model(x), tolerance=1e-4)
