import keras
import numpy as np
import pytest

from stzoo.backbones.inception_v3 import inception_v3
from stzoo.layers import TemporalShift


def build(*shape, **kwargs):
    inputs = keras.Input(shape)
    return keras.Model(inputs, inception_v3(inputs, **kwargs))


def test_shapes_and_parameters_match_the_original():
    """229 pixels give 6 x 6, as the last pool of GSM's graph expects."""
    model = build(1, 229, 229, 3)
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == 21_802_784
    shapes = {layer.name: layer.output.shape[2:] for layer in model.layers}
    assert shapes["conv_2"] == (112, 112, 64)
    assert shapes["pool_1"] == (27, 27, 192)
    assert shapes["mixed_2_join"] == (27, 27, 288)
    assert shapes["mixed_3_join"] == (13, 13, 768)
    assert shapes["mixed_8_join"] == (6, 6, 1280)
    assert shapes["mixed_10_join"] == (6, 6, 2048)
    assert model.get_layer("mixed_4_tower_conv_1_Conv2D").kernel_size == (7, 1)
    assert model.get_layer("mixed_4_tower_1_conv_1_Conv2D").kernel_size == (1, 7)
    assert model.get_layer("mixed_9_tower_mixed_conv_Conv2D").kernel_size == (3, 1)


def test_299_pixels_give_8x8():
    """The last pool of TSN's graph expects this size."""
    assert build(1, 299, 299, 3, width=8).output_shape[2:4] == (8, 8)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="mixed_3 cannot .* 26x26.*frames: 229, 299"):
        build(1, 224, 224, 3, width=8)
    with pytest.raises(ValueError, match="no convolution mixed_conv to insert at"):
        build(1, 75, 75, 3, width=8, inserts={"mixed_conv": TemporalShift()})
