"""Checkpoints as the authors' code writes them become folders that answer alike."""

import numpy as np
import pytest
import torch
from converting import convert
from harness import ask
from references import logits, reference_cost, reference_resnet
from safetensors.torch import save_file

import stzoo
from stzoo.weights.config import ModelConfig

DEPTHS = (2, 1, 1, 1)  # with CoST at stride 1 and 2
SMALL = ["--option", "width=4", "--option", "depths=2,1,1,1"]
CASES = {
    "c2d": ("c2d_tiny", []),
    "c3d_3x1x1": ("c3d_tiny", ["--option", "kernel=3x1x1"]),
    "c3d_3x3x3": ("c3d_tiny", ["--option", "kernel=3x3x3"]),
    "cost_a": ("cost_tiny", ["--option", "variant=a"]),
    "cost_b": ("cost_tiny", ["--option", "variant=b"]),
}
CLIPS = np.random.default_rng(0).integers(0, 256, (2, 6, 64, 48, 3), "uint8")


def mmaction(reference):
    """What mmcv's runner saves."""
    meta = {
        "epoch": 160,
        "config": "model = dict(type='Recognizer3D')",
        "CLASSES": None,
        "hook_msgs": {"best_score": np.float64(0.7), "last_ckpt": "epoch_160.pth"},
    }
    return {"meta": meta, "state_dict": reference.state_dict(), "optimizer": {}}


def assert_alike(folder, reference, clip=(6, 64, 48, 3)):
    model = stzoo.load(folder, input_shape=clip)
    expected = logits(reference, CLIPS)
    found = ask(model, CLIPS)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    return model


@pytest.mark.parametrize("block", CASES)
def test_an_official_checkpoint_answers_alike(tmp_path, block):
    builder, options = CASES[block]
    reference = reference_cost(DEPTHS, 4, 5, block)
    torch.save(mmaction(reference), tmp_path / "best.pth")
    convert(builder, tmp_path / "best.pth", "--out", tmp_path / "out", *options, *SMALL)
    model = assert_alike(tmp_path / "out", reference)
    assert model.stzoo.classes == 5
    assert model.stzoo.source == "best.pth"


def pytorchvideo(reference):
    """The names of PyTorchVideo's ResNet, and what PySlowFast saves."""
    renamed = {}
    for name, tensor in reference.state_dict().items():
        first, *rest = name.removeprefix("backbone.").split(".")
        if first == "cls_head":
            name = f"blocks.6.proj.{rest[-1]}"
        elif first == "conv1":
            name = f"blocks.0.{'conv' if rest[0] == 'conv' else 'norm'}.{rest[-1]}"
        else:
            stage = {"1": 1, "2": 3, "3": 4, "4": 5}[first[-1]]  # block 2 is a pool
            index, module, kind, last = rest
            kind = "conv" if kind == "conv" else "norm"
            if module == "downsample":
                part = f"branch1_{kind}"
            else:
                part = f"branch2.{kind}_{'abc'[int(module[-1]) - 1]}"
            name = f"blocks.{stage}.res_blocks.{index}.{part}.{last}"
        renamed[name] = tensor
    return {"epoch": 195, "model_state": renamed, "optimizer_state": {}, "cfg": "A: 1"}


@pytest.mark.parametrize(
    ("pooling", "save", "file"),
    [
        ("unpadded", mmaction, "c2d.pth"),
        ("spatial", mmaction, "c2d.pth"),
        ("code", pytorchvideo, "c2d.pyth"),
    ],
)
def test_published_c2d_answers_alike(tmp_path, pooling, save, file):
    reference = reference_cost(DEPTHS, 4, 5, "c2d", pooling)
    torch.save(save(reference), tmp_path / file)
    chosen = ["--option", f"pooling={pooling}", *SMALL]
    convert("c2d_tiny", tmp_path / file, "--out", tmp_path / "out", *chosen)
    assert_alike(tmp_path / "out", reference)


def test_other_containers(tmp_path):
    reference = reference_cost(DEPTHS, 4, 3, "c2d")
    parallel = {"module." + k: t for k, t in reference.state_dict().items()}
    torch.save(parallel, tmp_path / "parallel.pth")
    save_file(reference.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "labels.txt").write_text("läuft\nspringt\nfällt\n", "utf-8")
    for file in ("parallel.pth", "model.safetensors"):
        labels = ["--labels", tmp_path / "labels.txt", "--tag", "sports"]
        out = ("--out", tmp_path / "out")
        said = convert("c2d_tiny", tmp_path / file, *out, *SMALL, *labels)
        assert "with 3 classes to" in said
        model = stzoo.load(tmp_path / "out")
        assert model.stzoo.labels == ("läuft", "springt", "fällt")
        assert model.stzoo.name == "c2d_tiny.sports"
    assert_alike(tmp_path / "out", reference)


class Code:
    def __reduce__(self):
        return print, ("unpickled",)


def test_what_is_not_converted(tmp_path):
    out = tmp_path / "out"
    reference = reference_cost(DEPTHS, 4, 5, "cost_b").state_dict()
    headless = {k: t for k, t in reference.items() if "fc_cls" not in k}
    nan = {**reference, "backbone.conv1.bn.bias": torch.full((4,), torch.nan)}
    checkpoints = {
        "right.pth": reference,
        "longer.pth": {**reference, "backbone.layer9.conv.weight": torch.zeros(3)},
        "shorter.pth": {k: t for k, t in reference.items() if "conv1.bn.bias" not in k},
        "headless.pth": headless,
        "nan.pth": nan,
        "code.pth": {"state_dict": reference, "meta": Code()},
        "list.pth": [1, 2],
        "head.pth": {**reference, "cls_head.fc_cls.weight": torch.zeros(10**6, 1)},
        "huge.pth": {
            **reference,
            "cls_head.fc_cls.weight": torch.zeros(1).expand(10**10, 1),
        },
        "scalar.pth": {**reference, "cls_head.fc_cls.weight": torch.tensor(1.0)},
        "image.pth": reference_resnet(DEPTHS, 4, 5).state_dict(),
    }
    for name, state in checkpoints.items():
        torch.save(state, tmp_path / name)
    (tmp_path / "half.pth").write_bytes((tmp_path / "right.pth").read_bytes()[:10_000])
    (tmp_path / "text.pth").write_text("no checkpoint")
    (tmp_path / "text.safetensors").write_text("no checkpoint")
    (tmp_path / "two.txt").write_text("a\nb\n")
    cases = [
        ("cost_tiny none.pth", "There is no file"),
        ("cost_tiny half.pth", "half.pth cannot be read as a checkpoint"),
        ("cost_tiny text.pth", "text.pth cannot be read as a checkpoint"),
        (
            "cost_tiny text.safetensors",
            "text.safetensors cannot be read as a checkpoint",
        ),
        ("cost_tiny list.pth", "list.pth cannot be read as a checkpoint"),
        (
            "cost_tiny code.pth",
            "code.pth cannot be read as a checkpoint: it needs print",
        ),
        ("cost_tiny headless.pth", "headless.pth has no head"),
        (
            "cost_tiny head.pth",
            "other options may fit): it would have more weights",
        ),
        ("cost_tiny huge.pth", "huge.pth cannot be read as a checkpoint: its "),
        ("cost_tiny scalar.pth", "scalar.pth has no head"),
        ("cost_tiny nan.pth", "nan.pth does not fit cost_tiny"),
        ("cost_tiny nan.pth", "bn1/beta contains NaN"),
        ("cost_tiny longer.pth", "Not in the model: backbone.layer9.conv.weight."),
        ("cost_tiny shorter.pth", "Missing: bn1/beta, "),
        (
            "cost_tiny image.pth",
            "Missing: layer1_1_conv2/fc1/kernel, layer1_1_conv2/fc2/",
        ),
        ("cost_tiny right.pth --option variant=a", "backbone.layer1.1.conv2.conv.fc1."),
        ("cost_tiny right.pth --option variant=a", "'variant': 'a'"),
        ("c2d_tiny right.pth", "Not in the model: backbone.layer1.1.conv2.conv.fc1."),
        ("cost_tiny right.pth --option width=8", "has the shape"),
        (
            "cost_tiny right.pth --option width=big",
            "option width must have the type of 16",
        ),
        ("cost_tiny right.pth --option width", "option width must have the type of 16"),
        ("cost_tiny right.pth --option depths=3", "Missing: "),
        (
            "cost_tiny right.pth --option depths=a,b",
            "option depths must have the type of",
        ),
        ("cost_tiny right.pth --option variant=c", "variant must be one of 'a', 'b'"),
        ("cost_tiny right.pth --option kernel=3", "cost_tiny has no option kernel"),
        ("cost_huge right.pth", "There is no model 'cost_huge'. Choose one of c2d_"),
        ("cost_tiny right.pth --labels two.txt", "5 classes, but 2 labels"),
        ("cost_tiny right.pth --labels none.txt", "none.txt"),
    ]
    for line, message in cases:
        builder, *rest = line.split()
        rest = [tmp_path / r if r.endswith(("pth", "txt", "sors")) else r for r in rest]
        with pytest.raises(SystemExit) as info:
            convert(builder, "--out", out, *SMALL, *rest)
        # and nothing before it: no code has run, which would print
        assert str(info.value).startswith("The conversion failed: "), line
        assert message in str(info.value), line
        assert "\n" not in str(info.value), line
        assert not out.exists(), line


def test_from_python(tmp_path):
    reference = reference_cost(DEPTHS, 4, 5, "cost_a")
    torch.save(reference.state_dict(), tmp_path / "cost.pth")
    options = {"variant": "a", "width": 4, "depths": DEPTHS}
    model = stzoo.convert("cost_tiny", tmp_path / "cost.pth", **options)
    stzoo.save(model, tmp_path / "out")
    assert_alike(tmp_path / "out", reference)
    with pytest.raises(ValueError, match="no model 'cost'. Choose one of c2d_"):
        stzoo.convert("cost", tmp_path / "cost.pth")
    with pytest.raises(ValueError, match="cost_tiny has no option depth. Its"):
        stzoo.convert("cost_tiny", tmp_path / "cost.pth", depth=3)


def test_a_tag_of_the_zoo_brings_its_class_names(tmp_path, monkeypatch):
    labels = tuple("abcde")
    entry = ModelConfig("cost_tiny", "sports", "mine", classes=5, labels=labels)
    monkeypatch.setitem(stzoo.zoo.ENTRIES, "cost_tiny.sports", entry)
    reference = reference_cost(DEPTHS, 4, 5, "cost_b")
    torch.save(reference.state_dict(), tmp_path / "cost.pth")
    arguments = (tmp_path / "cost.pth", "--out", tmp_path / "out", "--tag", "sports")
    convert("cost_tiny", *arguments, *SMALL)
    config = stzoo.load(tmp_path / "out").stzoo
    assert (config.name, config.dataset, config.labels) == (
        "cost_tiny.sports",
        "mine",
        labels,
    )
