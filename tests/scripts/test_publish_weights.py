"""Entries become repositories of the Hub that answer as the entries do."""

import dataclasses
import io

import numpy as np
import publish_weights
import pytest
import torch
from golden import GOLDEN
from huggingface_hub import ModelCard
from references import reference_resnet
from safetensors.torch import save

import stzoo
from stzoo import zoo
from stzoo.models import cost
from stzoo.weights import checkpoint
from stzoo.weights.config import ModelConfig

FILES = {"model.safetensors", "config.json", "README.md", "golden.npz"}
SHIPPED = "cost_tiny.motions"
ENTRY = ModelConfig(
    "c2d_tiny",
    tag="images",
    options={"width": 4, "depths": (2, 1, 1, 1)},
    classes=5,
    licence="BSD-3-Clause",
    source="torchvision",
    reported={"top1": 76.1},
    repository="timm/images",
)


@pytest.fixture(autouse=True)
def namespace(hub, monkeypatch):
    monkeypatch.setenv("STZOO_HUB_NAMESPACE", "somebody")


@pytest.fixture
def entry(hub, monkeypatch):
    """An entry whose weights are on the Hub, with the names of PyTorch."""
    torch.manual_seed(0)
    weights = save(reference_resnet((2, 1, 1, 1), 4, 5).state_dict())
    hub.repositories["timm/images"] = {"model.safetensors": weights}
    family = dataclasses.replace(cost.FAMILY, entries=(*cost.FAMILY.entries, ENTRY))
    monkeypatch.setattr(cost, "FAMILY", family)
    monkeypatch.setitem(zoo.ENTRIES, ENTRY.name, ENTRY)
    # The builder of the entry with the sizes of its weights.
    small = lambda pretrained: stzoo.c2d_tiny(  # noqa: E731
        pretrained=pretrained, width=4, depths=(2, 1, 1, 1)
    )
    monkeypatch.setattr(
        stzoo,
        "create",
        lambda name: small("images") if name == ENTRY.name else zoo.create(name),
    )
    return hub


def golden(data):
    return np.load(io.BytesIO(data))


def test_a_shipped_entry_is_uploaded(hub, tmp_path, monkeypatch, capsys):
    publish_weights.main([SHIPPED, "--out", str(tmp_path)])
    name = f"somebody/{SHIPPED}"
    assert set(hub.repositories[name]) == FILES
    assert f"Uploaded to {hub.url}/{name}." in capsys.readouterr().out
    card = ModelCard.load(name)
    assert card.data.license == "apache-2.0" and card.data.base_model is None
    assert card.data.eval_results[0].metric_value == 0.9817
    assert "scripts/train" in card.text
    model = stzoo.load(f"hf://{name}")
    assert model.stzoo.name == SHIPPED and len(model.stzoo.sha256) == 64
    found = golden(hub.repositories[name]["golden.npz"])
    ours = np.load(GOLDEN / f"{SHIPPED}.npz")
    np.testing.assert_array_equal(found["clip"], ours["clip"])
    np.testing.assert_allclose(found["logits"], ours["logits"], atol=1e-3)


def test_an_entry_of_another_repository_names_it(entry, tmp_path, capsys):
    publish_weights.main(["c2d_tiny.*", "--out", str(tmp_path), "--dry-run"])
    folder = tmp_path / ENTRY.name
    assert capsys.readouterr().out == f"{folder} is ready for somebody/{ENTRY.name}.\n"
    assert {path.name for path in folder.iterdir()} == FILES
    assert list(entry.repositories) == ["timm/images"]
    card = ModelCard.load(folder / "README.md")
    assert card.data.base_model == "timm/images"
    assert card.data.license == "bsd-3-clause" and card.data.eval_results is None
    assert "Accuracy reported by the source: top-1 76.1 %" in card.text
    config = checkpoint.read(folder).config
    assert (config.name, config.source) == (ENTRY.name, "torchvision")
    assert config.base_model == "hf://timm/images@main"
    answers = golden((folder / "golden.npz").read_bytes())
    found = stzoo.load(folder).predict(answers["clip"], verbose=0)
    np.testing.assert_allclose(found, answers["logits"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "base", "source"),
    [
        ({"repository": "", "base_model": "hf://a/b@c"}, "hf://a/b@c", "torchvision"),
        ({"revision": "v1"}, "hf://timm/images@v1", "torchvision"),
        (
            {"repository": "https://a.org/b.pth hf://c/d#sha256"},
            "",
            "torchvision, https://a.org/b.pth",
        ),
        (
            {"allow_missing": ("^fc/",)},
            "hf://timm/images@main",
            "torchvision; the head is random and is to be trained",
        ),
    ],
)
def test_origins(change, base, source):
    found = publish_weights.origin(dataclasses.replace(ENTRY, **change))
    assert found == (base, source)


def test_one_entry_that_fails_leaves_the_others(entry, tmp_path, capsys):
    entry.repositories["timm/images"] = {}
    with pytest.raises(SystemExit, match=f"Not published: {ENTRY.name}."):
        publish_weights.main(["c[2o]*_tiny.*", "--out", str(tmp_path)])
    assert f"{ENTRY.name}: hf://timm/images" in capsys.readouterr().err
    assert set(entry.repositories[f"somebody/{SHIPPED}"]) == FILES


def test_names_that_are_no_entry(hub, tmp_path):
    with pytest.raises(SystemExit, match="nothing.* is no entry with weights. Known: "):
        publish_weights.main([SHIPPED, "nothing*", "--out", str(tmp_path)])
    assert hub.requests == [] and not list(tmp_path.iterdir())


def test_a_folder_that_answers_otherwise_is_not_uploaded(hub, tmp_path, monkeypatch):
    other = stzoo.create(SHIPPED)
    other.get_layer("fc").bias.assign(other.get_layer("fc").bias + 1)
    monkeypatch.setattr(stzoo, "load", lambda _: other)
    with pytest.raises(SystemExit, match="Not published"):
        publish_weights.main([SHIPPED, "--out", str(tmp_path)])
    assert hub.requests == []


def test_without_a_namespace_nothing_is_uploaded(hub, tmp_path, monkeypatch):
    monkeypatch.delenv("STZOO_HUB_NAMESPACE")
    with pytest.raises(SystemExit, match="Set STZOO_HUB_NAMESPACE."):
        publish_weights.main([SHIPPED, "--out", str(tmp_path)])
    assert not hub.repositories
