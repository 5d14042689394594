import numpy as np
import pytest
from harness import ask, check_model, close
from references import logits, reference_cost

import stzoo
from stzoo.layers import CoST
from stzoo.models.cost import KEY_MAP
from stzoo.weights.checkpoint import check
from stzoo.weights.convert import convert

RNG = np.random.default_rng(0)
BUILDERS = {
    "c2d": ("c2d_tiny", {}),
    "c3d_3x1x1": ("c3d_tiny", {"kernel": "3x1x1"}),
    "c3d_3x3x3": ("c3d_tiny", {"kernel": "3x3x3"}),
    "cost_a": ("cost_tiny", {"variant": "a"}),
    "cost_b": ("cost_tiny", {"variant": "b"}),
}
SLOW = pytest.mark.slow
BLOCKS = pytest.mark.parametrize("block", BUILDERS)


def build(block, **kwargs):
    name, options = BUILDERS[block]
    return stzoo.create(
        name, **options, **{"width": 8, "depths": (2, 2, 1, 1), **kwargs}
    )


def clips(*shape):
    return RNG.integers(0, 256, (*shape, 3)).astype("uint8")


def load(model, reference):
    """Loads all weights of the reference into a model."""
    variables = {variable.path: variable for variable in model.weights}
    shapes = {path: tuple(variable.shape) for path, variable in variables.items()}
    state = {name: value.numpy() for name, value in reference.state_dict().items()}
    tensors = convert(state, shapes, KEY_MAP)
    check(tensors, shapes)
    for path, tensor in tensors.items():
        variables[path].assign(tensor)


@BLOCKS
@pytest.mark.parametrize("shape", [(8, 64, 64), (6, 50, 72), (5, 49, 33)], ids=str)
def test_outputs_match_the_authors_network(block, shape):
    """Names and weights are the same. Sizes are even and odd."""
    reference = reference_cost((2, 2, 1, 1), width=8, classes=12, block=block)
    model = build(block, input_shape=(None, None, None, 3))
    load(model, reference)
    x = clips(2, *shape)
    close(ask(model, x), logits(reference, x))


@pytest.mark.parametrize(
    ("builder", "options", "parameters"),
    [
        ("c2d_resnet50", {}, 24_327_632),
        ("cost_resnet50", {"variant": "a"}, 24_333_968),
        ("cost_resnet50", {"variant": "b"}, 25_085_464),
        ("c3d_resnet50", {"kernel": "3x1x1"}, 29_013_456),
        ("c3d_resnet50", {"kernel": "3x3x3"}, 37_967_312),
        ("c2d_resnet101", {}, 43_319_760),
        pytest.param("cost_resnet101", {"variant": "a"}, 43_331_472, marks=SLOW),
        ("cost_resnet101", {"variant": "b"}, 44_405_344),
        pytest.param("c3d_resnet101", {"kernel": "3x1x1"}, 51_675_600, marks=SLOW),
        pytest.param("c3d_resnet101", {"kernel": "3x3x3"}, 62_857_680, marks=SLOW),
    ],
)
def test_parameters_match_the_code(builder, options, parameters):
    model = stzoo.create(builder, **options)
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == parameters
    assert model.output_shape == (None, 400)
    assert model.get_layer("dropout").rate == 0.5


@pytest.mark.parametrize(
    ("builder", "layers"),
    [("cost_resnet50", 8), ("cost_resnet101", 16), ("cost_resnet152", 25)],
)
def test_every_second_block_is_collaborative(builder, layers):
    """Figure 8 of the paper shows the 8 layers of ResNet-50."""
    blocks, odd = [], []
    for layer in stzoo.create(builder).layers:
        if layer.name.startswith("layer") and layer.name.endswith("_conv2"):
            blocks.append(layer.name)
            odd.append(isinstance(layer, CoST))
    assert odd == [index % 2 == 1 for index in range(len(blocks))]
    assert sum(odd) == layers


def test_feature_maps_match_table_1():
    model = stzoo.cost_resnet50()
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers[1:]}
    assert shapes["conv1"] == (8, 112, 112, 64)
    assert shapes["pool1"] == (8, 56, 56, 64)
    assert shapes["layer1_2_relu"] == (8, 56, 56, 256)
    assert shapes["pool2"] == (4, 56, 56, 256)
    assert shapes["layer2_3_relu"] == (4, 28, 28, 512)
    assert shapes["layer3_5_relu"] == (4, 14, 14, 1024)
    assert shapes["layer4_2_relu"] == (4, 7, 7, 2048)
    assert shapes["avgpool"] == (2048,)


def test_pools_of_paper_and_code_differ():
    code, paper = (build("cost_a", pooling=pooling) for pooling in ("code", "paper"))
    assert code.get_layer("pool1").pool_size == (1, 3, 3)
    assert code.get_layer("pool2").pool_size == (2, 1, 1)
    assert paper.get_layer("pool1").pool_size == (3, 3, 3)
    assert paper.get_layer("pool2").pool_size == (3, 1, 1)
    assert code.get_layer("pool2").output.shape == paper.get_layer("pool2").output.shape


def test_32_frames_are_a_longer_clip():
    model = stzoo.cost_tiny(input_shape=(32, 224, 224, 3), width=8, depths=(1, 1))
    assert model.get_layer("layer2_0_relu").output.shape == (None, 16, 28, 28, 64)


@pytest.mark.parametrize("pooling", ["unpadded", "spatial"])
@pytest.mark.parametrize("shape", [(6, 64, 64), (5, 49, 33)], ids=str)
def test_other_pools_match_those_of_mmaction2(pooling, shape):
    reference = reference_cost((1, 1, 1, 1), 8, 12, "c2d", pooling)
    model = stzoo.c2d_tiny(
        input_shape=(None, None, None, 3),
        pooling=pooling,
        width=8,
        depths=(1, 1, 1, 1),
    )
    load(model, reference)
    x = clips(2, *shape)
    close(ask(model, x), logits(reference, x))


def test_feature_maps_of_published_c2d():
    """mmaction2 has 55x55 pixels after its pool without padding."""
    shapes = {}
    for pooling in ("unpadded", "spatial"):
        model = stzoo.c2d_resnet50(pooling=pooling)
        maps = {layer.name: layer.output.shape[1:4] for layer in model.layers}
        shapes[pooling] = [maps[f"layer{i}_2_relu"] for i in (1, 2, 3, 4)]
    assert shapes["unpadded"] == [(8, 55, 55), (4, 28, 28), (4, 14, 14), (4, 7, 7)]
    assert shapes["spatial"] == [(8, 56, 56), (8, 28, 28), (8, 14, 14), (8, 7, 7)]
    one = stzoo.c2d_tiny(pooling="spatial", input_shape=(1, 64, 64, 3))
    assert one.output_shape == (None, 12)


# URL without its folder, pooling, frames and stride, top-1.
PUBLISHED = {
    "c2d_resnet50.kinetics400": (
        "c2d_r50-in1k-pre_8xb32-8x8x1-100e_kinetics400-rgb_20221027-3ca304fa.pth",
        ("unpadded", 8, 8, 73.89),
    ),
    "c2d_resnet50.kinetics400_16": (
        "c2d_r50-in1k-pre_8xb32-16x4x1-100e_kinetics400-rgb_20221027-5f382a43.pth",
        ("unpadded", 16, 4, 74.97),
    ),
    "c2d_resnet50.kinetics400_nopool": (
        "c2d_r50-in1k-pre-nopool_8xb32-8x8x1-100e_kinetics400-rgb_20221027-e0227b22.pth",
        ("spatial", 8, 8, 73.44),
    ),
    "c2d_resnet101.kinetics400": (
        "c2d_r101-in1k-pre-nopool_8xb32-8x8x1-100e_kinetics400-rgb_"
        "20221027-557bd8bc.pth",
        ("spatial", 8, 8, 74.97),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_of_c2d(name):
    file, facts = PUBLISHED[name]
    entry = stzoo.zoo.ENTRIES[name]
    folder = file.rpartition("_")[0]
    stem = "https://download.openmmlab.com/mmaction/v1.0/recognition/c2d"
    assert entry.repository == f"{stem}/{folder}/{file}"
    clip = entry.clip
    found = entry.options["pooling"], clip.frames, clip.stride, entry.reported["top1"]
    assert found == facts
    assert clip.sampling == "dense" and entry.labels[0] == "abseiling"


def test_pytorchvideo_normalises_by_045_and_0225():
    entry = stzoo.zoo.ENTRIES["c2d_resnet50.kinetics400_pytorchvideo"]
    assert entry.clip.mean == (255 * 0.45,) * 3
    assert entry.clip.std == (255 * 0.225,) * 3
    assert not entry.repository  # its name has no hash, by which it could be checked
    with pytest.raises(FileNotFoundError, match="kinetics/C2D_8x8_R50.pyth"):
        stzoo.create("c2d_resnet50.kinetics400_pytorchvideo")


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, marks=() if block in ("c3d_3x3x3", "cost_b") else SLOW)
        for block in BUILDERS
    ],
)
def test_model_satisfies_the_contract_of_keras(block, tmp_path):
    check_model(lambda: build(block), clips(2, 8, 64, 64), tmp_path)


def test_c2d_is_invariant_to_the_reversal_of_frames():
    """It pools pairs of frames, and then all pairs."""
    x = clips(2, 8, 64, 64)
    for block, blind in (("c2d", True), ("c3d_3x1x1", False), ("cost_b", False)):
        model = build(block)
        answer = ask(model, x)
        difference = np.abs(answer - ask(model, x[:, ::-1])).max()
        assert (difference < 1e-5 * np.abs(answer).max()) == blind, block


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "c"}, "variant must be one of 'a', 'b'. Received: 'c'"),
        ({"pooling": "none"}, "pooling must be one of 'code', 'paper'"),
        ({"input_shape": (1, 64, 64, 3)}, "needs 2 or more"),
        ({"input_shape": (64, 64, 3)}, "frames, height, width, channels"),
        ({"input_shape": (8, 64, 64, 4)}, "has 4 channels"),
        ({"input_shape": (0, 64, 64, 3)}, "frames must be an integer from 1"),
        ({"classes": 0}, "classes must be"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        stzoo.cost_tiny(**arguments)
