"""Layer-wise learning rates and drop path of VideoMAE and V-JEPA 2."""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from harness import numpy

import stzoo
from stzoo.training import transformers
from stzoo.training.recipes import RECIPES, Recipe

SMALL = dict(classes=3, input_shape=(4, 32, 32, 3), width=24)
MODELS = {
    "videomae_tiny": dict(SMALL, depth=3),
    "vjepa2_tiny": dict(SMALL, depth=4, probe=2),
}
RECIPE = Recipe(
    *("mine", "me", 1e-3, 2),
    epochs=1,
    algorithm="adamw",
    dropout=0.0,
    layer_decay=0.75,
    drop_path=0.2,
)


@pytest.fixture(params=MODELS)
def model(request):
    keras.utils.set_random_seed(0)
    return stzoo.create(request.param, **MODELS[request.param])


def layer_of(path, layers):
    """The layer of a variable in the code of VideoMAE, by its name there."""
    if path.startswith("patch_embed"):
        return 0
    if path.startswith("layer_"):
        return int(path.split("_")[1]) + 1
    return layers + 1


def test_rates_and_decay_are_those_of_the_code_of_videomae(model):
    """Measured by the update of a step with equal gradients."""
    layers = MODELS[model.name]["depth"]
    recipe = dataclasses.replace(RECIPE, weight_decay=0.5)
    optimizer = recipe.optimizer(1, model)
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    optimizer.build(variables)
    optimizer.apply([keras.ops.ones_like(v.value) for v in variables])
    for variable in variables:
        scale = 0.75 ** (layers + 1 - layer_of(variable.path, layers))
        # A step of Adam, and the decay of what has more than one dimension.
        decay = 0.5 if len(variable.shape) > 1 else 0.0
        expected = 1 - 1e-3 * scale * (1 + decay)
        np.testing.assert_allclose(numpy(variable), expected, rtol=2e-7)
    scales = {layer_of(variable.path, layers) for variable in variables}
    assert scales == set(range(layers + 2))


def test_rates_of_drop_path_rise_linearly_over_the_encoder(model):
    RECIPE.prepare(model)
    layers = MODELS[model.name]["depth"]
    expected = np.linspace(0, 0.2, layers)
    for layer in model.layers:
        if not layer.name.endswith("drop_path"):
            continue
        in_encoder = layer.name.startswith("layer_")
        rate = expected[int(layer.name.split("_")[1])] if in_encoder else 0
        assert layer.rate == pytest.approx(rate), layer.name
    dataclasses.replace(RECIPE, drop_path=0.0).prepare(model)
    rates = [x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)]
    assert len(rates) > 2 * layers and not any(rates)


@pytest.mark.parametrize("blocks, expected", [(1, [0.0]), (2, [0.0, 0.2])])
def test_the_last_of_few_blocks_has_the_whole_rate(blocks, expected):
    names = [f"layer_{number}_add1" for number in range(blocks)]
    layers = [SimpleNamespace(name=name) for name in names]
    drops = [SimpleNamespace(name=f"{name}_drop_path") for name in names]
    transformers.set_drop_path(SimpleNamespace(layers=layers + drops), 0.2)
    assert [layer.rate for layer in drops] == expected


def test_drop_path_drops_whole_branches_of_some_clips(model):
    """The only block that drops is the last one: its branches are all or nothing."""
    dataclasses.replace(RECIPE, drop_path=0.5).prepare(model)
    layers = MODELS[model.name]["depth"]
    drop = model.get_layer(f"layer_{layers - 1}_add1_drop_path")
    x = np.ones((64, 5, 2), "float32")
    y = numpy(drop(x, training=True))
    assert (y == y[:, :1, :1]).all()
    assert set(np.unique(y)) == {0.0, 2.0} and 16 < y[:, 0, 0].sum() / 2 < 48
    np.testing.assert_array_equal(numpy(drop(x, training=False)), x)


@pytest.mark.slow
def test_training_works_with_rates_that_are_set_after_the_model_is_built(model):
    recipe = dataclasses.replace(RECIPE, dropout=0.5)
    recipe.prepare(model)
    model.compile(recipe.optimizer(1, model), recipe.loss())
    clips = np.zeros((2, *model.input_shape[1:]), "uint8")
    assert np.isfinite(model.train_on_batch(clips, np.array([0, 1])))


def test_a_loaded_keras_file_can_still_be_prepared(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    RECIPE.prepare(loaded)
    loaded.compile(RECIPE.optimizer(1, loaded), RECIPE.loss())
    clips = np.zeros((2, *model.input_shape[1:]), "uint8")
    assert np.isfinite(loaded.train_on_batch(clips, np.array([0, 1])))


def test_only_the_probe_of_vjepa2_is_trained():
    model = stzoo.create("vjepa2_tiny", **MODELS["vjepa2_tiny"])
    RECIPES["vjepa2_probe"].prepare(model)
    trained = {variable.path for variable in model.trainable_variables}
    probe = {v.path for v in model.variables if v.path.startswith(("pooler", "fc/"))}
    probe = {path for path in probe if "seed" not in path}
    assert trained == probe
    assert "pooler/query_tokens" in probe and "pooler_1_fc1/kernel" in probe


def test_settings_for_other_models_are_refused():
    model = stzoo.c2d_tiny(3, input_shape=(2, 32, 32, 3), width=4, depths=(1, 1))
    with pytest.raises(ValueError) as error:
        RECIPE.prepare(model)
    assert str(error.value) == (
        "drop_path is for transformers, VideoMAE and V-JEPA 2. c2d_tiny has no blocks "
        "of a transformer: remove drop_path."
    )
    with pytest.raises(ValueError, match="c2d_tiny has no blocks.*remove layer_decay"):
        RECIPE.optimizer(1, model)
    with pytest.raises(ValueError, match="^layer_decay needs the model: recipe"):
        RECIPE.optimizer(1)
    videomae = stzoo.create("videomae_tiny", **SMALL, depth=1)
    recipe = dataclasses.replace(RECIPE, drop_path=0.0, freeze="encoder")
    for other in (model, videomae):
        expected = f"{other.name} has no attentive probe: choose freeze="
        with pytest.raises(ValueError, match=expected):
            recipe.prepare(other)
