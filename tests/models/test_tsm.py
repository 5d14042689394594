import keras
import numpy as np
import pytest
from harness import ask, check_model, close
from references_inception import load, logits, reference_tsn

import stzoo
from stzoo.backbones import mobilenet_v2
from stzoo.layers import TemporalShift

RNG = np.random.default_rng(0)
# Backbone: its name in the reference, which blocks shift, and a width.
ORIGINALS = {
    "bn_inception": ("bn_inception", True, 8),
    "mobilenetv2": ("mobilenetv2", True, 16),
    "resnet50": ((3, 4, 6, 3), range, 8),
}
EVERY_BACKBONE = pytest.mark.parametrize("backbone", ORIGINALS)


def build(backbone, shift, frames=None):
    width = ORIGINALS[backbone][2]
    return stzoo.tsm_tiny(
        classes=5,
        input_shape=(frames, None, None, 3),
        shift=shift,
        backbone=backbone,
        width=width,
    )


@pytest.mark.parametrize("shift", ["offline", "online"])
@EVERY_BACKBONE
def test_outputs_match_the_original_network(backbone, shift):
    original, shifts, width = ORIGINALS[backbone]
    online = shift == "online"
    reference = reference_tsn(original, width, 5, shifts=shifts, online=online)
    model = build(backbone, shift)
    load(model, reference)
    x = RNG.integers(0, 256, (2, 4, 64, 96, 3)).astype("uint8")
    answer = ask(model, x)
    close(answer, logits(reference, x))
    backwards = ask(model, x[:, ::-1])
    assert np.abs(backwards - answer).max() > 1e-2 * np.abs(answer).max()


@EVERY_BACKBONE
def test_online_features_do_not_depend_on_later_frames(backbone):
    """Those of any first frames are the features of these frames alone."""
    model = build(backbone, "online")
    features = keras.Model(model.input, model.get_layer("avgpool").input)
    x = RNG.integers(0, 256, (2, 5, 64, 64, 3)).astype("uint8")
    answer = ask(features, x)
    for frames in range(1, 5):
        first = ask(features, x[:, :frames])
        close(first, answer[:, :frames])
        other = x.copy()
        other[:, frames:] = 255 - x[:, frames:]
        changed = ask(features, other)
        np.testing.assert_array_equal(changed[:, :frames], answer[:, :frames])
        moved = np.abs(changed[:, frames:] - answer[:, frames:]).max((0, 2, 3, 4))
        assert (moved > 1e-2 * np.abs(answer).max()).all()
    backwards = ask(features, x[:, ::-1])[:, ::-1]
    assert np.abs(backwards - answer).max() > 1e-2 * np.abs(answer).max()


def test_the_shift_is_recorded(tmp_path):
    model = stzoo.tsm_tiny(shift="online", width=8, depth=1)
    stzoo.save(model, tmp_path)
    copy = stzoo.load(tmp_path)
    assert copy.stzoo.options["shift"] == "online"
    assert copy.get_layer("conv2_shift").online
    assert not stzoo.tsm_tiny(width=8, depth=1).get_layer("conv2_shift").online
    with pytest.raises(ValueError, match="were made with shift='online', but this"):
        stzoo.tsm_tiny(pretrained=tmp_path, shift="offline", width=8, depth=1)
    again = stzoo.tsm_tiny(pretrained=tmp_path, width=8, depth=1)
    assert again.stzoo.options["shift"] == "online"


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
    ("builder", "shifts", "parameters"),
    [
        ("tsm_resnet50", 16, 23_864_558),  # these two in mmaction2's tables
        ("tsm_bninception", 11, 10_270_240 + 1025 * 174),
        ("tsm_mobilenetv2", 10, 2_736_272 - 1281 * (400 - 174)),
    ],
)
def test_builders(builder, shifts, parameters):
    model = stzoo.create(builder, classes=174)
    assert sum(isinstance(layer, TemporalShift) for layer in model.layers) == shifts
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == parameters
    assert model.input_shape == (None, 8, 224, 224, 3)
    assert model.output_shape == (None, 174)


def test_model_satisfies_the_contract_of_keras(tmp_path):
    x = RNG.integers(0, 256, (2, 4, 64, 64, 3)).astype("uint8")
    check_model(
        lambda: stzoo.tsm_tiny(width=8, depth=3, input_shape=(4, 64, 64, 3)),
        x,
        tmp_path,
    )


def test_mobilenet_satisfies_the_contract_of_keras(tmp_path, monkeypatch):
    """In training, a batch norm undoes what the one before has added or scaled, with
    only a linear layer, or a depthwise one and a ReLU of scale alone, between them.
    """

    monkeypatch.setattr(mobilenet_v2, "STAGES", mobilenet_v2.STAGES[:3])

    def build():
        model = stzoo.tsm_tiny(
            input_shape=(4, 64, 64, 3), backbone="mobilenetv2", shift="online"
        )
        for weight in model.weights:
            if weight.path.endswith("beta"):  # so that a ReLU sees more than a scale
                weight.assign(RNG.uniform(-0.5, 0.5, weight.shape))
        return model

    x = RNG.integers(0, 256, (2, 4, 64, 64, 3)).astype("uint8")
    projections = r"features_(1_conv_2|\d+_conv_3)/beta"
    check_model(build, x, tmp_path, idle=projections)


@pytest.mark.parametrize(
    ("name", "end", "sampling"),
    [
        (
            "resnet50.kinetics400_16",
            "1x1x16-50e_kinetics400-rgb_20220831-042b1748",
            (16, "segments"),
        ),
        (
            "resnet50.kinetics400_dense",
            "dense-1x1x8-50e_kinetics400-rgb_20220831-f55d3c2b",
            (8, "dense"),
        ),
        (
            "resnet50.kinetics400_100e",
            "1x1x8-100e_kinetics400-rgb_20220831-a6db1e5d",
            (8, "segments"),
        ),
        (
            "resnet101.something_v2",
            "r101_8xb16-1x1x8-50e_sthv2-rgb_20230320-efcc0d1b",
            (8, "segments"),
        ),
        (
            "mobilenetv2.kinetics400",
            "mobilenetv2_8xb16-1x1x8-100e_kinetics400-rgb_20230414-401127fd",
            (8, "segments"),
        ),
        (
            "resnet50.kinetics400_dense_mit",
            "TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e100_dense",
            (8, "dense"),
        ),
        (
            "resnet50.something_v1_16_mit",
            "TSM_something_RGB_resnet50_shift8_blockres_avg_segment16_e45",
            (16, "segments"),
        ),
        (
            "resnet101.something_v2_mit",
            "TSM_somethingv2_RGB_resnet101_shift8_blockres_avg_segment8_e45",
            (8, "segments"),
        ),
        (
            "mobilenetv2.kinetics400_dense_mit",
            "TSM_kinetics_RGB_mobilenetv2_shift8_blockres_avg_segment8_e100_dense",
            (8, "dense"),
        ),
    ],
)
def test_published_weights(name, end, sampling):
    entry = stzoo.zoo.ENTRIES[f"tsm_{name}"]
    assert (entry.repository or entry.source).endswith(f"{end}.pth")
    assert (entry.clip.frames, entry.clip.sampling) == sampling
    assert entry.options == {"shift": "offline"}
    assert entry.classes == (174 if "something" in name else 400)


def test_the_demo_of_the_authors_is_online():
    """Its gestures are in alphabetical order."""
    entry = stzoo.zoo.ENTRIES["tsm_mobilenetv2.jester_mit"]
    assert entry.options == {"shift": "online"}
    assert entry.labels[:2] == ("Doing other things", "Drumming Fingers")
    assert (entry.classes, entry.labels[14]) == (27, "Stop Sign")
    with pytest.raises(FileNotFoundError, match="mobilenetv2_jester_online.pth.tar"):
        stzoo.create("tsm_mobilenetv2.jester_mit")


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="backbone must be one of 'bn_inception', 'mo"):
        stzoo.tsm_tiny(backbone="inception_v3")
    with pytest.raises(ValueError, match="shift must be one of 'offline', 'online'"):
        stzoo.tsm_tiny(shift="past")
