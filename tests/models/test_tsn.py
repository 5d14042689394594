import numpy as np
import pytest
from harness import ask, check_model, close
from references_inception import load, logits, reference_tsn

import stzoo

RNG = np.random.default_rng(0)
# Backbone: its name in the reference, height and width (even if possible).
BACKBONES = {
    "bn_inception": ("bn_inception", (64, 96)),
    "inception_v3": ("inception_v3", (101, 75)),
    "resnet50": ((3, 4, 6, 3), (50, 72)),
}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_outputs_match_the_original_network(backbone):
    """Names and weights are the same."""
    original, size = BACKBONES[backbone]
    reference = reference_tsn(original, 8, 5)
    clip = (None, None, None, 3)
    model = stzoo.tsn_tiny(classes=5, input_shape=clip, backbone=backbone, width=8)
    load(model, reference)
    x = RNG.integers(0, 256, (2, 3, *size, 3)).astype("uint8")
    close(ask(model, x), logits(reference, x))


def test_model_satisfies_the_contract_of_keras(tmp_path):
    x = RNG.integers(0, 256, (2, 4, 64, 64, 3)).astype("uint8")
    check_model(
        lambda: stzoo.tsn_tiny(width=8, depth=3, input_shape=(4, 64, 64, 3)),
        x,
        tmp_path,
    )


def test_logits_are_averaged():
    """Outputs do not change if frames are reordered, or half of them are repeated."""
    model = stzoo.tsn_tiny(width=8, depth=3, input_shape=(None, 64, 64, 3))
    x = RNG.integers(0, 256, (1, 8, 64, 64, 3)).astype("uint8")
    answer = model(x)
    close(model(x[:, RNG.permutation(8)]), answer)
    close(model(np.concatenate([x, x], axis=1)), answer)


@pytest.mark.parametrize(
    ("builder", "size", "parameters"),
    [
        ("tsn_bninception", 224, 10_270_240 + 1025 * 400),
        ("tsn_inceptionv3", 229, 21_802_784 + 2049 * 400),
        ("tsn_resnet50", 224, 24_327_632),
        ("tsn_resnet101", 224, 43_319_760),
    ],
)
def test_builders(builder, size, parameters):
    model = stzoo.create(builder)
    assert model.input_shape == (None, 8, size, size, 3)
    assert model.output_shape == (None, 400)
    assert model.get_layer("dropout").rate == 0.5
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == parameters
    assert model.stzoo.clip.sampling == "segments"


@pytest.mark.parametrize(
    ("name", "end", "sampling"),
    [
        ("resnet50.kinetics400", "kinetics400-rgb_20220906-2692d16c", (8, "segments")),
        (
            "resnet50.kinetics400_3",
            "1x1x3-100e_kinetics400-rgb_20220906-cd10898e",
            (3, "segments"),
        ),
        (
            "resnet50.kinetics400_5",
            "1x1x5-100e_kinetics400-rgb_20220906-65d68713",
            (5, "segments"),
        ),
        (
            "resnet50.kinetics400_dense",
            "dense-1x1x5-100e_kinetics400-rgb_20220906-dcbc6e01",
            (5, "dense"),
        ),
        (
            "resnet50.something_v2",
            "1x1x8-50e_sthv2-rgb_20230313-06ad7d03",
            (8, "segments"),
        ),
        (
            "resnet50.something_v2_16",
            "1x1x16-50e_sthv2-rgb_20230221-85bcc1c3",
            (16, "segments"),
        ),
        (
            "resnet101.kinetics400",
            "r101_8xb32-1x1x8-100e_kinetics400-rgb_20220906-23cff032",
            (8, "segments"),
        ),
    ],
)
def test_published_weights(name, end, sampling):
    entry = stzoo.zoo.ENTRIES[f"tsn_{name}"]
    url = entry.repository.split()[0]
    folder, file = url.split("/")[-2:]
    assert file.endswith(f"{end}.pth") and file.startswith(f"{folder}_2")
    assert (entry.clip.frames, entry.clip.sampling) == sampling
    assert entry.classes == (174 if "something" in name else 400)


def test_channels_of_caffe_are_bgr():
    """The means of B, G, R are 104, 117, 128."""
    normalize = stzoo.tsn_tiny(width=8).get_layer("normalize")
    pixel = np.array([[128, 117, 104]], "uint8")
    assert np.array(normalize(pixel)).tolist() == [[0, 0, 0]]
    pixel = np.array([[129, 117, 107]], "uint8")
    assert np.array(normalize(pixel)).tolist() == [[3, 0, 1]]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="backbone must be one of 'bn_inception', 'in"):
        stzoo.tsn_tiny(backbone="resnet18")
    with pytest.raises(ValueError, match="mixed_3 cannot halve"):
        stzoo.tsn_tiny(backbone="inception_v3", input_shape=(8, 64, 64, 3))
