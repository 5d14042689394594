import numpy as np
import pytest
from harness import check_model, close
from references_inception import load, logits, reference_tsn

import stzoo
from stzoo.layers import TemporalShift

RNG = np.random.default_rng(0)
ORIGINALS = {"bn_inception": ("bn_inception", True), "resnet50": ((3, 4, 6, 3), range)}


@pytest.mark.parametrize("backbone", ORIGINALS)
def test_outputs_match_the_original_network(backbone):
    original, shifts = ORIGINALS[backbone]
    reference = reference_tsn(original, 8, 5, shifts=shifts)
    clip = (None, None, None, 3)
    model = stzoo.tsm_tiny(classes=5, input_shape=clip, backbone=backbone, width=8)
    load(model, reference)
    x = RNG.integers(0, 256, (2, 4, 64, 96, 3)).astype("uint8")
    answer = model.predict(x, verbose=0)
    close(answer, logits(reference, x))
    backwards = model.predict(x[:, ::-1], verbose=0)
    assert np.abs(backwards - answer).max() > 1e-2 * np.abs(answer).max()


def test_resnet101_shifts_every_second_block():
    shifts = [
        layer.name.removesuffix("_conv1_shift")
        for layer in stzoo.tsm_resnet101().layers
        if isinstance(layer, TemporalShift)
    ]
    depths = ((1, 3), (2, 4), (3, 23), (4, 3))
    expected = [f"layer{s}_{i}" for s, depth in depths for i in range(0, depth, 2)]
    assert shifts == expected


@pytest.mark.parametrize(
    ("builder", "shifts"), [("tsm_resnet50", 16), ("tsm_bninception", 11)]
)
def test_builders(builder, shifts):
    model = stzoo.create(builder, classes=174)
    assert sum(isinstance(layer, TemporalShift) for layer in model.layers) == shifts
    assert model.input_shape == (None, 8, 224, 224, 3)
    assert model.output_shape == (None, 174)


def test_model_satisfies_the_contract_of_keras(tmp_path):
    x = RNG.integers(0, 256, (2, 4, 64, 64, 3)).astype("uint8")
    check_model(
        lambda: stzoo.tsm_tiny(width=8, depth=3, input_shape=(4, 64, 64, 3)),
        x,
        tmp_path,
    )


def test_inception_v3_is_refused():
    with pytest.raises(ValueError, match="backbone must be one of 'bn_inception', 're"):
        stzoo.tsm_tiny(backbone="inception_v3")
