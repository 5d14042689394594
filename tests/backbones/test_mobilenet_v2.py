import keras
import numpy as np
import pytest

from stzoo.backbones.mobilenet_v2 import mobilenet_v2, torchvision_names
from stzoo.layers import TemporalShift


def test_shapes_and_parameters_are_those_of_the_paper():
    inputs = keras.Input((1, 224, 224, 3))
    model = keras.Model(inputs, mobilenet_v2(inputs))
    # torchvision has 3,504,872 with 1000 classes.
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == 3_504_872 - 1281 * 1000
    shapes = {layer.name: layer.output.shape[2:] for layer in model.layers}
    assert shapes["features_0_0_relu"] == (112, 112, 32)
    assert shapes["features_1_conv_2"] == (112, 112, 16)
    assert shapes["features_2_conv_1_1"] == (56, 56, 96)
    assert shapes["features_3_conv_add"] == (56, 56, 24)
    assert shapes["features_6_conv_add"] == (28, 28, 32)
    assert shapes["features_13_conv_add"] == (14, 14, 96)
    assert shapes["features_17_conv_3"] == (7, 7, 320)
    assert shapes["features_18_0_relu"] == (7, 7, 1280)


def test_ten_blocks_add_their_input():
    """These are the shifted blocks of MIT's online demo, counted from 0 there."""
    inputs = keras.Input((2, 64, 64, 3))
    x = mobilenet_v2(inputs, lambda x, name: TemporalShift(name=f"{name}_shift")(x), 16)
    shifted = [
        int(layer.name.split("_")[1]) - 1
        for layer in keras.Model(inputs, x).layers
        if isinstance(layer, TemporalShift)
    ]
    assert shifted == [2, 4, 5, 7, 8, 9, 11, 12, 14, 15]


@pytest.mark.parametrize(
    ("known", "name", "expected"),
    [
        ("mit", "base_model.features.0.0.weight", "base_model.features.0.0.weight"),
        ("mit", "base_model.features.1.conv.3.weight", "features.1.conv.1.weight"),
        ("mit", "features.1.conv.4.running_var", "features.1.conv.2.running_var"),
        ("mit", "x.features.2.conv.3.weight", "features.2.conv.1.0.weight"),
        ("mit", "features.3.conv.0.net.weight", "features.3.conv.0.0.weight"),
        ("mit", "features.3.conv.9.weight", "features.3.conv.9.weight"),
        ("mit", "features.1.conv.6.weight", "features.1.conv.6.weight"),
        ("mmaction", "backbone.conv1.bn.bias", "features.0.1.bias"),
        ("mmaction", "backbone.conv2.bn.bias", "features.18.1.bias"),
        (
            "mmaction",
            "backbone.layer1.0.conv.1.conv.weight",
            "features.1.conv.1.weight",
        ),
        (
            "mmaction",
            "backbone.layer6.2.conv.0.net.bn.bias",
            "features.16.conv.0.1.bias",
        ),
        (
            "mmaction",
            "backbone.layer7.0.conv.2.conv.weight",
            "features.17.conv.2.weight",
        ),
        ("other", "features.2.conv.3.weight", "features.2.conv.3.weight"),
        ("other", "backbone.conv1.bn.bias", "backbone.conv1.bn.bias"),
    ],
)
def test_names_become_those_of_torchvision(known, name, expected):
    mark = {
        "mit": "base_model.features.17.conv.7.weight",
        "mmaction": "backbone.conv2.conv.weight",
        "other": "features.17.conv.3.weight",
    }[known]
    assert torchvision_names({name: 1, mark: 2})[expected] == 1


def test_two_tensors_for_one_place_are_refused():
    names = ("0.weight", "0.net.weight")
    tensors = {f"features.3.conv.{name}": 1 for name in names}
    with pytest.raises(ValueError, match="two tensors for one place of a block"):
        torchvision_names({**tensors, "features.17.conv.7.weight": 1})
