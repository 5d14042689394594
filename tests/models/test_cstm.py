from functools import partial

import keras
import numpy as np
import pytest
from harness import ask, check_model, close, open_gate
from references_inception import CSTM as Reference
from references_inception import load, logits, reference_tsn

import stzoo
from stzoo.layers import CSTM
from stzoo.models.gsm import places

RNG = np.random.default_rng(0)
# The names of the reference, which no published code has.
RULES = (
    (r"^(cstm_\w+)\.shift\.bn\.", r"\1/shift/bn."),
    (r"^(cstm_\w+)\.(conv|bn|shift|fc1|fc2)\.", r"\1/\2."),
)


@pytest.mark.parametrize(
    ("fusion", "shift", "backbone", "size"),
    [
        ("attention", "gate", "bn_inception", (64, 96)),
        ("attention", "tsm", "inception_v3", (75, 101)),
    ],
)
def test_outputs_match_a_network_in_pytorch(fusion, shift, backbone, size):
    module = ("cstm", partial(Reference, fusion=fusion, shift=shift))
    reference = reference_tsn(backbone, 8, 5, gates=places(backbone), module=module)
    model = stzoo.cstm_tiny(
        classes=5,
        input_shape=(None, None, None, 3),
        fusion=fusion,
        shift=shift,
        backbone=backbone,
        width=8,
    )
    load(model, reference, RULES)
    x = RNG.integers(0, 256, (2, 4, *size, 3)).astype("uint8")
    close(ask(model, x), logits(reference, x))


@pytest.mark.parametrize(
    ("builder", "size", "options", "parameters"),
    [
        ("cstm_bninception", 224, {}, 21_723_596),
        ("cstm_bninception", 224, {"kernel_size": (3, 1, 1)}, 11_868_620),
        ("cstm_inceptionv3", 229, {}, 32_087_892),
    ],
)
def test_builders(builder, size, options, parameters):
    model = stzoo.create(builder, input_shape=(16, size, size, 3), **options)
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    features = model.get_layer("avgpool").output.shape[-1]
    assert trainable == parameters + 174 * (features + 1)
    assert sum(isinstance(layer, CSTM) for layer in model.layers) == 10


def test_the_tiny_model_has_few_parameters():
    trainable = stzoo.cstm_tiny().trainable_weights
    assert sum(np.prod(weight.shape) for weight in trainable) < 1_500_000


def test_model_satisfies_the_contract_of_keras(tmp_path):
    x = RNG.integers(0, 256, (2, 4, 64, 64, 3)).astype("uint8")

    def build():
        keras.utils.set_random_seed(0)  # a saturated softmax would have no gradient
        model = stzoo.cstm_tiny(
            width=8, depth=3, reduction=1, input_shape=(4, 64, 64, 3)
        )
        for layer in model.layers:
            if isinstance(layer, CSTM):
                open_gate(layer.shifted)
                layer.fc2.kernel.assign(layer.fc2.kernel * 0.01)  # some of both
        return model

    check_model(build, x, tmp_path)
