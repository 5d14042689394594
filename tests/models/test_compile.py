"""Whole models compile with `torch.compile`, or with XLA on TensorFlow."""

import keras
import numpy as np
import pytest
from harness import close, numpy

import stzoo

FAMILIES = {
    "cost_tiny": {"depths": (2, 0, 0, 0)},
    "p3d_tiny": {"depths": (1, 1, 1, 1), "semantics": "paper"},
    "tsm_tiny": {"depth": 1},
    "gsm_tiny": {"depth": 1},
    "cstm_tiny": {"depth": 1},
    "s3d_tiny": {"width": 8, "gating": True},
    "stpn_tiny": {"width": 4, "length": 2, "dim": 32},
    "trn_tiny": {"width": 8, "depth": 1, "units": 8},
    "videomae_tiny": {"width": 24, "depth": 1},
    "vjepa2_tiny": {"width": 24, "depth": 1},
}
CLIPS = {"stpn_tiny": (6, 5), "trn_tiny": (4, 3)}  # frames and channels
on_torch = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="only PyTorch has torch.compile"
)
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="JAX always compiles"
)


def small(name):
    frames, channels = CLIPS.get(name, (16, 3))
    shape = (frames, 32, 32, channels)
    return stzoo.create(name, input_shape=shape, **FAMILIES[name])


def clip(model):
    shape = (1, *model.input_shape[1:])
    return np.random.default_rng(0).integers(0, 256, shape)


@on_torch
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_no_layer_breaks_the_graph(name):
    """The model compiles to one graph with a fixed shape."""
    import torch

    torch.compiler.reset()  # counts the models of other tests otherwise
    model = small(name)
    x = torch.as_tensor(clip(model))
    compiled = torch.compile(
        lambda x: model(x, training=False), fullgraph=True, backend="eager"
    )
    with torch.no_grad():
        close(numpy(compiled(x)), numpy(model(x)))


@on_tensorflow
@pytest.mark.parametrize("name", FAMILIES)
def test_no_layer_refuses_xla(name):
    model = small(name)
    model.compile(jit_compile=True)
    assert model.jit_compile is True


@on_tensorflow
@pytest.mark.slow
def test_xla_compiles_a_model_with_jit_compile(monkeypatch):
    import tensorflow as tf

    asked, function = [], tf.function

    def note(*args, jit_compile=None, **kwargs):
        asked.append(jit_compile)
        return function(*args, jit_compile=jit_compile, **kwargs)

    monkeypatch.setattr(tf, "function", note)
    model = small("cost_tiny")
    x = clip(model).astype("float32")
    model.compile(keras.optimizers.SGD(1e-4), "mse", jit_compile=True)
    close(model.predict(x, verbose=0), model(x))
    assert True in asked
    asked.clear()
    loss = model.train_on_batch(x, np.zeros(model(x).shape))
    assert np.isfinite(loss) and True in asked
