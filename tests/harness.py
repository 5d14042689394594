"""Checks for all layers and models, gradients on any backend, and helpers for files."""

import contextlib
import re
from pathlib import Path

import keras
import numpy as np
from keras import ops

from stzoo.layers.network import Network

PRECISION = "mixed_bfloat16"  # float16 does not convolve on PyTorch's CPU


def check_layer(layer, x, tmp_path):
    """Checks that a layer satisfies the contract of Keras.

    Args:
        layer: a layer, not built.
        x: array, an input.
        tmp_path: folder for the file that is saved and loaded.
    """
    answer = numpy(layer(x))
    assert layer.compute_output_shape(x.shape) == answer.shape
    assert answer.dtype == "float32"

    copy = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert copy.get_config() == layer.get_config()

    # Sizes are unknown, and the weights come from a file.
    inputs = keras.Input((*[None] * (x.ndim - 2), x.shape[-1]))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == layer.compute_output_shape(inputs.shape)
    close(_saved(model, tmp_path).predict(x, verbose=0), answer)

    with precision(PRECISION):
        half = layer.__class__.from_config({**layer.get_config(), "dtype": PRECISION})
        assert keras.backend.standardize_dtype(half(x).dtype) == "bfloat16"

    if layer.trainable_weights:
        _check_fit(model, x, np.zeros_like(answer))


def check_model(build, x, tmp_path, idle=None, rate=1e-3):
    """Checks that a model satisfies the contract of Keras.

    Args:
        build: function without arguments that returns a model from clips to logits.
        x: uint8 array, a batch of clips.
        tmp_path: folder for the file that is saved and loaded.
        idle: pattern of the paths of weights whose gradient is 0, if there are any.
        rate: float, the learning rate of a step that reduces the loss.
    """
    model = build()
    answer = model.predict(x, verbose=0)
    assert answer.dtype == "float32"
    close(ask(model, x.astype("float32")), answer)
    close(ask(_saved(model, tmp_path), x), answer)

    with precision(PRECISION):
        half = build()
        half.set_weights(model.get_weights())
        logits = ask(half, x)
    names = [variable.path for variable in model.weights]
    assert len(set(names)) == len(names)
    assert names == [variable.path for variable in half.weights]
    assert logits.dtype == "float32"
    assert np.abs(logits - answer).max() < 0.1 * np.abs(answer).max() + 0.1

    # Layers are trained in graphs, see `check_layer`, which take TensorFlow long.
    is_slow = keras.backend.backend() == "tensorflow"
    _check_fit(model, x, answer + 1, idle, rate, run_eagerly=is_slow)


def ask(model, x):
    """Returns the outputs of a model as an array, in the fastest way."""
    if keras.backend.backend() == "jax":  # a call without compilation is slow
        return model.predict(x, verbose=0)
    return numpy(model(x))


def _check_fit(model, x, y, idle=None, rate=1e-3, run_eagerly=False):
    """Checks that a step of `fit` changes all weights and reduces the loss.

    A model of the zoo must take the same second step if it is rematerialized.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0  # both steps need the same network
    before = [numpy(weight) for weight in model.trainable_weights]
    model.compile(keras.optimizers.SGD(rate), "mse", run_eagerly=run_eagerly)
    how = dict(batch_size=len(x), shuffle=False, verbose=0)
    (first,) = model.fit(x, y, **how).history["loss"]
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.isfinite(numpy(weight)).all(), weight.path
        if not idle or not re.search(idle, weight.path):
            assert (numpy(weight) != old).any(), weight.path
    middle = model.get_weights()
    (second,) = model.fit(x, y, **how).history["loss"]
    assert second < first, (first, second)
    if isinstance(model, Network):
        after = model.get_weights()
        model.set_weights(middle)
        model.rematerialize = True
        (again,) = model.fit(x, y, **how).history["loss"]
        np.testing.assert_allclose(again, second, rtol=1e-5)
        for weight, old, new in zip(model.weights, middle, after, strict=True):
            difference = np.abs(numpy(weight) - new).max()
            assert difference <= 1e-4 * np.abs(new - old).max() + 1e-6, weight.path


def _saved(model, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    return keras.saving.load_model(path)


def randomize(layer):
    """Sets random weights, with open gates and non-trivial batch norms."""
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        values = rng.normal(size=weight.shape) * 0.3
        if weight.path.endswith(("gamma", "variance")):
            values = 0.5 + np.abs(values)
        weight.assign(values)


def open_gate(layer):
    """Opens a `GateShift` slightly, since a closed one has only a kernel gradient."""
    values = np.random.default_rng(0).normal(size=layer.kernel.shape)
    layer.kernel.assign(1e-4 * values)


@contextlib.contextmanager
def precision(policy):
    """Context manager that sets the global dtype policy of Keras."""
    old = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(old)


def gradients(function, *arrays):
    """Returns the gradients of the sum of `function(*arrays)`, as arrays."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            tensors = [tf.constant(array) for array in arrays]
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                total = tf.reduce_sum(function(*tensors))
            found = tape.gradient(total, tensors)
        case "jax":
            import jax

            def total(*tensors):
                return function(*tensors).sum()

            found = jax.grad(total, tuple(range(len(arrays))))(*arrays)
        case "torch":
            import torch

            tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
            function(*tensors).sum().backward()
            found = [tensor.grad for tensor in tensors]
    return [numpy(gradient) for gradient in found]


def close(answer, expected, tolerance=1e-5):
    """Asserts equality up to `tolerance`, relative to the largest expected number."""
    answer, expected = numpy(answer), numpy(expected)
    assert answer.shape == expected.shape
    worst = np.abs(answer - expected).max()
    assert worst <= tolerance * np.abs(expected).max(), worst / np.abs(expected).max()


def numpy(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def touch(folder, *names):
    """Creates empty files for videos, since their content is not read."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a video")


def names(videos, folder):
    """Returns the paths of videos relative to a folder."""
    return [Path(path).relative_to(folder).as_posix() for path in videos.paths]
