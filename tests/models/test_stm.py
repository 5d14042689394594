import numpy as np
import pytest
from harness import ask, check_model, close
from references import logits, reference_resnet
from references_stm import reference_stm

import stzoo
from stzoo.layers import MotionDifference, TemporalDepthwiseConv
from stzoo.models import stm
from stzoo.weights.checkpoint import check
from stzoo.weights.convert import convert

RNG = np.random.default_rng(0)
DEPTHS = (2, 1, 1, 1)  # with and without a stride


def tensors(reference, model):
    """The weights of a reference under the names of stzoo, and all shapes."""
    shapes = {weight.path: tuple(weight.shape) for weight in model.weights}
    state = {name: value.numpy() for name, value in reference.state_dict().items()}
    for name, value in state.items():
        if value.ndim == 3:  # a 1D convolution of each channel
            state[name] = value[:, 0]
    return convert(state, shapes, stm.KEY_MAP), shapes


@pytest.mark.parametrize("shape", [(8, 64, 96), (3, 32, 64)], ids=str)
def test_outputs_match_the_network_of_the_paper(shape):
    reference = reference_stm(DEPTHS, 16, 5)
    model = stzoo.stm_tiny(5, (None, None, None, 3), width=16, depths=DEPTHS)
    found, shapes = tensors(reference, model)
    check(found, shapes)
    for weight in model.weights:
        weight.assign(found[weight.path])
    x = RNG.integers(0, 256, (2, *shape, 3)).astype("uint8")
    answer = ask(model, x)
    close(answer, logits(reference, x))
    backwards = ask(model, x[:, ::-1])
    assert np.abs(backwards - answer).max() > 1e-2 * np.abs(answer).max()


def test_image_weights_lack_only_what_sees_time():
    model = stzoo.stm_tiny(5, width=16, depths=DEPTHS)
    entry = stzoo.zoo.ENTRIES["stm_resnet50.imagenet"]
    found, shapes = tensors(reference_resnet(DEPTHS, 16, 5), model)
    check(found, shapes, entry.allow_missing)
    missing = {path.split("_", 2)[2] for path in shapes.keys() - found.keys()}
    assert missing == {
        "temporal/kernel",
        "motion_reduce/kernel",
        "motion_difference/kernel",
        "motion_expand/kernel",
        *(f"motion_bn/{name}" for name in ("gamma", "beta")),
        *(f"motion_bn/moving_{name}" for name in ("mean", "variance")),
    }


def test_builders():
    """The parameters of ResNet-50, and three kernels and a batch norm in each block."""
    model = stzoo.stm_resnet50(classes=174)
    assert model.input_shape == (None, 8, 224, 224, 3)
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    blocks = ((64, 3), (128, 4), (256, 6), (512, 3))
    added = sum(n * (3 * c + 2 * c * (c // 16) + 11 * (c // 16)) for c, n in blocks)
    assert trainable == 23_864_558 + added
    for layer in (MotionDifference, TemporalDepthwiseConv):
        assert sum(isinstance(one, layer) for one in model.layers) == 16


def test_model_satisfies_the_contract_of_keras(tmp_path):
    x = RNG.integers(0, 256, (2, 4, 64, 64, 3)).astype("uint8")
    check_model(
        lambda: stzoo.stm_tiny(input_shape=(4, 64, 64, 3), depths=(1, 1)),
        x,
        tmp_path,
    )


def test_sizes_without_motion_or_halves_are_refused():
    with pytest.raises(ValueError, match=r"needs 2 or more. .*\(1, 64, 64, 3\)"):
        stzoo.stm_tiny(input_shape=(1, 64, 64, 3))
    with pytest.raises(ValueError, match=r"divisible by 32. .*\(8, 64, 72, 3\)"):
        stzoo.stm_tiny(input_shape=(8, 64, 72, 3))
