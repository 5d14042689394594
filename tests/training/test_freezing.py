import dataclasses

import numpy as np
import pytest
from harness import numpy

import stzoo
from stzoo.training.freezing import freeze
from stzoo.training.recipes import RECIPES


def trained(model):
    return {weight.path for weight in model.trainable_weights}


def starting(paths, *prefixes):
    return {path for path in paths if path.startswith(prefixes)}


@pytest.mark.parametrize(
    "name, frozen, learned",
    [
        (
            "cost_tiny",
            ("conv1", "bn1", "layer1_", "layer2_0_conv1", "layer2_0_bn1"),
            ("layer2_0_conv2", "layer2_0_downsample", "layer3_", "layer4_", "fc"),
        ),
        (
            "cstm_tiny",
            ("conv1_", "conv2_"),
            ("cstm_inception_3", "inception_3", "inception_4", "inception_5", "fc"),
        ),
        (
            "videomae_tiny",
            ("patch_embed", "layer_0_", "layer_1_"),
            ("layer_2_", "layer_3_", "fc_norm", "fc"),
        ),
        (
            "vjepa2_tiny",
            ("patch_embed", "layer_0_", "layer_1_"),
            ("layer_2_", "pooler"),
        ),
    ],
)
def test_the_first_two_stages_are_frozen(name, frozen, learned):
    model = stzoo.create(name)
    before = trained(model)
    freeze(model, 2)
    assert all(starting(before, prefix) for prefix in (*frozen, *learned))
    assert not starting(trained(model), *frozen)
    assert starting(trained(model), *learned) == starting(before, *learned)


@pytest.mark.parametrize("name", stzoo.list_models("*_tiny"))
def test_the_first_stage_of_every_network_can_be_frozen(name):
    model = stzoo.create(name)
    before, first = trained(model), model.trainable_weights[0].path
    freeze(model, 1)
    learned = trained(model)
    assert first not in learned and starting(learned, "fc/") and learned < before


def test_layers_before_the_first_stage_are_frozen_too():
    """The first two convolutions of VGG do not make maps smaller."""
    options = {"streams": "spatial", "length": 1, "input_shape": (1, 64, 64, 3)}
    model = stzoo.stpn_tiny(backbone="vgg16", width=4, **options)
    freeze(model, 1)
    frozen = {f"spatial_features_{number}/kernel" for number in (0, 2, 5, 7)}
    assert not frozen & trained(model)
    assert "spatial_features_10/kernel" in trained(model)


def test_stages_of_maps_without_padding_are_rounded():
    """A clip of 75 pixels has maps of 37, 35, 35, 17, 15, 7 and so on."""
    model = stzoo.tsn_tiny(backbone="inception_v3", width=8, input_shape=(1, 75, 75, 3))
    freeze(model, 1)
    names = {path.split("/")[0] for path in trained(model)}
    assert "conv_2_Conv2D" not in names and "conv_3_Conv2D" in names


def test_a_number_freezes_the_batch_norms_of_later_stages_too():
    model = stzoo.cost_tiny(pretrained="motions", classes=3)
    dataclasses.replace(RECIPES["small_data"], freeze=3).prepare(model)
    assert starting(trained(model), "layer4_0_conv3/") and not [
        path for path in trained(model) if path.endswith(("gamma", "beta"))
    ]


def test_frozen_stages_do_not_change_and_others_do():
    model = stzoo.videomae_tiny(3, width=24, depth=2)
    recipe = dataclasses.replace(RECIPES["small_data"], freeze=1, head_first=0)
    recipe.prepare(model)
    before = {weight.path: numpy(weight) for weight in model.weights}
    model.compile(recipe.optimizer(2), recipe.loss())
    x = np.random.default_rng(0).integers(0, 256, (4, *model.input_shape[1:]))
    model.fit(x.astype("uint8"), np.array([0, 1, 2, 0]), batch_size=2, verbose=0)
    for weight in model.weights:
        is_frozen = weight.path.startswith(("patch_embed/", "layer_0_"))
        assert np.array_equal(numpy(weight), before[weight.path]) == is_frozen


@pytest.mark.parametrize(("name", "stages"), [("cost_tiny", 5), ("videomae_tiny", 4)])
def test_a_number_of_stages_that_a_network_does_not_have_is_an_error(name, stages):
    model = stzoo.create(name)
    freeze(model, stages)
    with pytest.raises(ValueError, match=f"{name} has {stages} stages. Received: free"):
        freeze(model, stages + 1)


def test_stages_need_a_fixed_height():
    model = stzoo.cost_tiny(input_shape=(8, None, None, 3))
    with pytest.raises(ValueError, match="fixed height. Received: freeze=2, input_s"):
        freeze(model, 2)
