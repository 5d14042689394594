"""From a name to a model."""

import json
import math
from inspect import signature

import pytest

import stzoo
from stzoo import zoo
from stzoo.models.family import SHARED
from stzoo.weights import hub

TINY = {"width": 4, "depths": (1, 1), "input_shape": (2, 32, 32, 3)}


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


def test_weights_that_can_be_had_and_others():
    def names(pattern, **options):
        found = stzoo.list_models(pattern, pretrained=True, **options)
        return [weights.name for weights in found]

    assert names("cost_*50*") == ["cost_resnet50.imagenet"]
    assert names("cost_resnet50*", unavailable=True) == [
        "cost_resnet50.imagenet",
        "cost_resnet50.kinetics400",
        "cost_resnet50.moments_in_time",
    ]
    assert names("*", unavailable=True) == sorted(zoo.ENTRIES)
    for weights in stzoo.list_models(pretrained=True, unavailable=True):
        entry = zoo.ENTRIES[weights.name]
        shipped = hub.shipped(weights.name)
        assert weights.is_available == bool(entry.repository or shipped)
        assert (weights.download == 0) == bool(shipped)
        assert (weights.needs == "stzoo[flow]") == (len(entry.clip.mean) != 3)
        assert weights.classes == entry.classes and weights.licence == entry.licence
        assert weights.dataset == entry.dataset


def test_what_is_listed_of_one_set_of_weights():
    (tiny,) = stzoo.list_models("cost_tiny*", pretrained=True)
    folder = hub.shipped("cost_tiny.motions")
    config = json.loads((folder / "config.json").read_text())
    assert tiny.measured == config["measured"] and tiny.where == "in the package"
    assert tiny.labels == tuple(config["labels"])
    model = stzoo.cost_tiny()
    sizes = [math.prod(variable.shape) for variable in model.trainable_variables]
    assert tiny.parameters == sum(sizes)
    (tsm,) = stzoo.list_models("tsm_resnet50.something_v2", pretrained=True)
    assert tsm.reported == {"top1": 62.72, "top5": 87.7, "protocol": "3 crops"}
    assert tsm.where.startswith("https://download.openmmlab.com/")
    assert tsm.download == 4 * tsm.parameters
    (none,) = stzoo.list_models("cost_*50.kin*", pretrained=True, unavailable=True)
    assert none.where == "not published: Li et al., CVPR 2019"


# GFLOPs and millions of parameters. TSM, ICCV 2019, Table 2, 8 frames: 33 G, 24.3 M
# (of 174 classes, 23.9 M); CoST's C2D and C3D parameters are derived from the layers.
@pytest.mark.parametrize(
    "name, gflops, parameters",
    [
        ("tsm_resnet50.something_v2", 32.9, 23.9),
        ("tsm_resnet50.something_v2_16", 65.8, 23.9),
        ("c2d_resnet50.kinetics400", None, 24.327632),
        ("cost_resnet50.kinetics400", None, 25.085464),
        ("p3d_resnet152.kinetics400", None, 66.49224),
    ],
)
def test_costs_against_published_counts(name, gflops, parameters):
    (found,) = stzoo.list_models(name, pretrained=True, unavailable=True)
    assert found.parameters == pytest.approx(parameters * 1e6, rel=2e-3)
    if gflops:
        assert found.gflops == pytest.approx(gflops, rel=1e-2)


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
        with pytest.raises(ValueError, match=f"option {key} must have the type of"):
            zoo.check_options(name, {**kept, key: {}})


def test_create():
    model = stzoo.create("cost_tiny", classes=3, variant="a", **TINY)
    assert model.name == "cost_tiny"
    assert model.output_shape == (None, 3)
    assert model.stzoo.options["variant"] == "a"


def test_create_with_a_tag(hub):
    with pytest.raises(FileNotFoundError, match="hf://timm/resnet50.tv_in1k@main/"):
        stzoo.create("c2d_resnet50.imagenet")
    with pytest.raises(ValueError, match="'imagnet' is not a tag of c2d_resnet50"):
        stzoo.create("c2d_resnet50.imagnet")
    with pytest.raises(ValueError, match="already contains a tag.*'kinetics400'"):
        stzoo.create("c2d_resnet50.imagenet", pretrained="kinetics400")


@pytest.mark.parametrize("name", ["cost_resnet18", "", "cost_resnet18.imagenet"])
def test_create_what_there_is_not(name):
    with pytest.raises(
        ValueError, match=f"no model '{name}'. Choose one of c2d_resnet101, "
    ):
        stzoo.create(name)


def test_load_keeps_options_as_the_builder_has_them(tmp_path):
    stzoo.save(stzoo.c3d_tiny(classes=3, kernel="3x3x3", **TINY), tmp_path)
    model = stzoo.load(tmp_path)
    assert model.name == "c3d_tiny"
    assert model.stzoo.options == {
        "kernel": "3x3x3",
        "pooling": "code",
        "width": 4,
        "depths": (1, 1),
    }
