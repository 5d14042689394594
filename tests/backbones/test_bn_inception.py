import keras
import numpy as np
import pytest
import torch
from harness import close
from torch.nn import functional as F

from stzoo.backbones import bn_inception
from stzoo.layers import TemporalShift

RNG = np.random.default_rng(0)


def build(*shape, **kwargs):
    inputs = keras.Input(shape)
    return keras.Model(inputs, bn_inception.bn_inception(inputs, **kwargs))


def test_shapes_and_parameters_match_the_original():
    model = build(1, 224, 224, 3)
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == 10_270_240
    shapes = {layer.name: layer.output.shape[2:] for layer in model.layers}
    assert shapes["conv1_7x7_s2"] == (112, 112, 64)
    assert shapes["pool2_3x3_s2"] == (28, 28, 192)
    assert shapes["inception_3b_output"] == (28, 28, 320)
    assert shapes["inception_3c_output"] == (14, 14, 576)
    assert shapes["inception_4d_output"] == (14, 14, 608)
    assert shapes["inception_4e_output"] == (7, 7, 1056)
    assert shapes["inception_5b_output"] == (7, 7, 1024)
    names = {weight.path for weight in model.weights}
    assert "inception_3a_double_3x3_2/bias" in names
    assert "inception_3a_double_3x3_2_bn/moving_variance" in names


def pooled(pool, x):
    """Returns the output of a pool, and the same frames as a tensor of PyTorch."""
    frames = x.reshape(-1, *x.shape[2:])
    answer = np.array(keras.ops.convert_to_numpy(pool(x, "pool")))
    answer = answer.reshape(-1, *answer.shape[2:])
    return answer, torch.from_numpy(np.moveaxis(frames, -1, 1).copy())


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (6, 9), (3, 4), (5, 3)], ids=str)
def test_pools_match_pytorch(size):
    x = RNG.uniform(size=(2, 2, *size, 3)).astype("float32")
    answer, torch_x = pooled(bn_inception.ceil_pool, x)
    expected = F.max_pool2d(torch_x, 3, 2, ceil_mode=True)
    close(answer, np.moveaxis(expected.numpy(), 1, -1))
    answer, torch_x = pooled(bn_inception.average_pool, x)
    expected = F.avg_pool2d(torch_x, 3, 1, 1, ceil_mode=True)
    close(answer, np.moveaxis(expected.numpy(), 1, -1))
    answer, torch_x = pooled(bn_inception.same_max_pool, x)
    expected = F.max_pool2d(torch_x, 3, 1, 1, ceil_mode=True)
    close(answer, np.moveaxis(expected.numpy(), 1, -1))


def test_pools_of_unknown_sizes_match_pytorch():
    inputs = keras.Input((None, None, None, 3))
    model = keras.Model(inputs, bn_inception.ceil_pool(inputs, "pool"))
    for size in ((8, 8), (7, 7), (6, 9)):
        x = RNG.uniform(size=(1, 2, *size, 3)).astype("float32")
        answer, torch_x = pooled(lambda x, name: model(x), x)
        expected = F.max_pool2d(torch_x, 3, 2, ceil_mode=True)
        close(answer, np.moveaxis(expected.numpy(), 1, -1))


def test_operators_are_inserted_at_the_given_convolutions():
    place = "inception_3c_3x3_reduce"
    shift = TemporalShift(name="shift")
    model = build(2, 32, 32, 3, inserts={place: shift}, width=8)
    assert shift.input is model.get_layer(place).output
    assert model.get_layer(f"{place}_bn").input is shift.output


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="no convolution inception_3d_1x1, fc to"):
        inserts = dict.fromkeys(("inception_3d_1x1", "fc"), TemporalShift())
        build(1, 32, 32, 3, inserts=inserts, width=8)
    with pytest.raises(ValueError, match="inception_4e cannot halve maps of 3x2"):
        build(1, 48, 32, 3, width=8)
