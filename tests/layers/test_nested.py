"""Keras loads an operator whose Dense layers are quantized or have LoRA enabled."""

import keras
import numpy as np
import pytest
from harness import close, numpy, precision

from stzoo.layers import CSTM, AttentionPooling, ChannelAttention, CoST

CLIP = (2, 4, 4, 8)
PAIR = [(4, 8), (4, 6)]
OPERATORS = {
    "CoST": (CoST, {"filters": 6}, CLIP, ("fc1", "fc2")),
    "CSTM": (CSTM, {}, CLIP, ("fc1", "fc2")),
    "ChannelAttention": (ChannelAttention, {}, CLIP, ("fc1", "fc2")),
    "AttentionPooling": (AttentionPooling, {"filters": 5}, PAIR, ("conv1", "conv2")),
}
# Without a quantizer of activations, the output differs.
WEIGHTS_ONLY = keras.quantizers.Int8QuantizationConfig(activation_quantizer=None)


def model_of(name):
    """Returns a model of one operator, its inner layers, and an input."""
    operator, options, shapes, names = OPERATORS[name]
    keras.utils.set_random_seed(0)
    inputs = keras.tree.map_shape_structure(keras.Input, shapes)
    layer = operator(**options, name="operator")
    rng = np.random.default_rng(0)
    x = [rng.random((2, *shape), "float32") for shape in PAIR]
    if shapes is CLIP:
        x = rng.random((2, *CLIP), "float32")
    model = keras.Model(inputs, layer(inputs))
    inner = [getattr(layer, name) for name in names]
    for weight in (weight for layer in inner for weight in layer.weights):
        weight.assign(rng.random(weight.shape))  # so that a ReLU lets something through
    return model, inner, x


def quantize(layer):
    layer.quantize("int8", config=WEIGHTS_ONLY)


def give_lora(layer):
    layer.enable_lora(1, lora_alpha=3)
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))


@pytest.mark.parametrize("change", [quantize, give_lora])
@pytest.mark.parametrize("name", OPERATORS)
def test_keras_loads_a_changed_operator(name, change, tmp_path):
    model, inner, x = model_of(name)
    plain = numpy(model(x))
    for layer in inner:
        change(layer)
    answer = numpy(model(x))
    assert np.abs(answer - plain).max() > 1e-5
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    close(loaded(x), answer)
    operator = loaded.get_layer("operator")
    for layer in inner:
        copy = getattr(operator, layer.name)
        assert copy.quantization_mode == layer.quantization_mode
        assert copy.lora_rank == layer.lora_rank
        assert copy.path == layer.path
    assert operator.get_config()["dense"].keys() == {layer.name for layer in inner}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_unchanged_operator_has_no_nested_configs(name):
    model, _, _ = model_of(name)
    assert model.get_layer("operator").get_config()["dense"] == {}


def test_the_inner_layers_of_cost_have_its_dtype_policy():
    with precision("mixed_bfloat16"):
        layer = CoST(4, dtype="float32")
        layer.build((None, *CLIP))
    assert layer.fc1.dtype_policy.name == layer.fc2.dtype_policy.name == "float32"
