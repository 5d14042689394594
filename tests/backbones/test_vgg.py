import keras
import numpy as np
import torch
from harness import close
from references import randomize
from references_stpn import _VGG

from stzoo.backbones.vgg import vgg16
from stzoo.weights.convert import convert

RNG = np.random.default_rng(0)


def test_network_matches_torchvision():
    reference = randomize(_VGG(4, 3))
    inputs = keras.Input((None, None, None, 3))
    model = keras.Model(inputs, vgg16(inputs, 4, prefix="rgb_"))
    shapes = {v.path: tuple(v.shape) for v in model.weights}
    state = {f"rgb.{n}": t.numpy() for n, t in reference.state_dict().items()}
    tensors = convert(state, shapes)
    for variable in model.weights:
        variable.assign(tensors[variable.path])
    for size in ((64, 96), (50, 70)):  # pools drop the remainder
        x = RNG.normal(size=(2, 3, *size, 3)).astype("float32")
        frames = torch.from_numpy(np.moveaxis(x.reshape(-1, *size, 3), -1, 1).copy())
        with torch.no_grad():
            expected = np.moveaxis(reference(frames).numpy(), 1, -1)
        close(model(x), expected.reshape(2, 3, *expected.shape[1:]))


def test_parameters_are_those_of_the_paper():
    inputs = keras.Input((1, 224, 224, 3))
    model = keras.Model(inputs, vgg16(inputs))
    assert model.output_shape == (None, 1, 7, 7, 512)
    assert model.count_params() == 14_714_688
