"""LoRA and quantization by Keras: merged, or refused before anything is written."""

import keras
import numpy as np
import pytest
from harness import close, numpy

import stzoo
from stzoo.weights.adapters import check_floats, merged


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return stzoo.cost_tiny(input_shape=(2, 32, 32, 3), width=4, depths=(2, 1, 1, 1))


def inside(model):
    """The head, and a layer inside of an operator."""
    return model.get_layer("fc"), model.get_layer("layer1_1_conv2").fc1


def answer(model):
    shape = (2, *model.input_shape[1:])
    x = np.random.default_rng(1).integers(0, 256, shape).astype("uint8")
    return numpy(model(x))


def test_lora_is_merged(model, tmp_path):
    plain = answer(model)
    for layer in inside(model):
        layer.enable_lora(2, lora_alpha=5)
        layer.lora_kernel_b.assign(np.full(layer.lora_kernel_b.shape, 0.5))
    trained = answer(model)
    paths = [weight.path for weight in model.weights]
    assert np.abs(trained - plain).max() > 0.1 * np.abs(plain).max()

    fused = stzoo.fuse(model)
    close(answer(fused), trained)
    assert not any("lora" in weight.path for weight in fused.weights)
    stzoo.save(fused, tmp_path / "fused")
    close(answer(stzoo.load(tmp_path / "fused")), trained)

    stzoo.save(model, tmp_path / "model")
    close(answer(stzoo.load(tmp_path / "model")), trained)
    assert [weight.path for weight in model.weights] == paths
    np.testing.assert_array_equal(answer(model), trained)


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_a_quantized_model_is_not_written(model, mode, tmp_path):
    stzoo.save(model, tmp_path / "model")
    before = {path: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    for layer in inside(model):
        layer.quantize(mode)
    where = rf"{mode}: layer1_1_conv2/fc1, fc\)"
    for folder in ("model", "new"):
        with pytest.raises(ValueError, match=rf"{where}.*Nothing was written"):
            stzoo.save(model, tmp_path / folder)
    with pytest.raises(ValueError, match=rf"{where}.*Fuse it first"):
        stzoo.fuse(model)
    assert {
        path: path.read_bytes() for path in (tmp_path / "model").iterdir()
    } == before
    assert not (tmp_path / "new").exists()


def test_the_deploy_form_can_be_quantized(model, tmp_path):
    fused = stzoo.fuse(model)
    for layer in inside(fused):
        layer.quantize("int8")
    fused.save(tmp_path / "model.keras")
    close(answer(keras.saving.load_model(tmp_path / "model.keras")), answer(fused))


@pytest.mark.parametrize("read", [merged, lambda model: check_floats(model, "")])
def test_nothing_is_written_when_the_layers_inside_cannot_be_found(read):
    class Newer:
        weights = ()

    with pytest.raises(RuntimeError, match="no `_flatten_layers`.*Nothing was written"):
        read(Newer())
