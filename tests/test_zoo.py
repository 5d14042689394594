"""From a name to a model."""

import json
from inspect import signature

import pytest

import stzoo
from stzoo import zoo
from stzoo.models.family import SHARED

TINY = {"width": 4, "depths": (1, 1, 1, 1), "input_shape": (2, 32, 32, 3)}


def test_list_models():
    assert stzoo.list_models("cost*") == [
        "cost_resnet101",
        "cost_resnet152",
        "cost_resnet50",
        "cost_tiny",
    ]
    assert stzoo.list_models("c3d*50") == ["c3d_resnet50"]
    assert stzoo.list_models("COST*") == []
    assert set(stzoo.list_models()) == zoo.BUILDERS.keys()


def test_list_models_with_weights():
    assert stzoo.list_models("cost_resnet50*", pretrained=True) == [
        "cost_resnet50.imagenet",
        "cost_resnet50.kinetics400",
        "cost_resnet50.moments_in_time",
    ]
    for name in stzoo.list_models(pretrained=True):
        assert zoo.ENTRIES[name].builder in zoo.BUILDERS


def test_every_name_is_public():
    for name, builder in zoo.BUILDERS.items():
        assert getattr(stzoo, name) is builder


@pytest.mark.parametrize("name", zoo.BUILDERS)
def test_every_option_can_be_kept_in_a_file(name):
    options = dict(signature(zoo.BUILDERS[name]).parameters)
    options = {
        key: parameter.default
        for key, parameter in options.items()
        if key not in SHARED
    }
    kept = json.loads(json.dumps(options))
    assert zoo.check_options(name, kept) == zoo.default_options(name) == options
    for key in options:
        with pytest.raises(ValueError, match=f"option {key} must be like"):
            zoo.check_options(name, {**kept, key: {}})


def test_create():
    model = stzoo.create("cost_tiny", classes=3, variant="a", **TINY)
    assert model.name == "cost_tiny"
    assert model.output_shape == (None, 3)
    assert model.stzoo.options["variant"] == "a"


def test_create_with_a_tag(hub):
    with pytest.raises(FileNotFoundError, match="hf://timm/resnet50.tv_in1k@main/"):
        stzoo.create("c2d_resnet50.imagenet")
    with pytest.raises(ValueError, match="'imagnet' is no tag of c2d_resnet50"):
        stzoo.create("c2d_resnet50.imagnet")
    with pytest.raises(ValueError, match="already says the weights.*'kinetics400'"):
        stzoo.create("c2d_resnet50.imagenet", pretrained="kinetics400")


@pytest.mark.parametrize("name", ["cost_resnet18", "", "cost_resnet18.imagenet"])
def test_create_what_there_is_not(name):
    with pytest.raises(ValueError, match=f"no model '{name}'. Known: c2d_resnet101, "):
        stzoo.create(name)


def test_load_keeps_options_as_the_builder_has_them(tmp_path):
    stzoo.save(stzoo.c3d_tiny(classes=3, kernel="3x3x3", **TINY), tmp_path)
    model = stzoo.load(tmp_path)
    assert model.name == "c3d_tiny"
    assert model.stzoo.options == {
        "kernel": "3x3x3",
        "pooling": "code",
        "width": 4,
        "depths": (1, 1, 1, 1),
    }
