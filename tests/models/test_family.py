"""The contract of every builder of every family."""

import ast
import inspect
from types import SimpleNamespace

import pytest

import stzoo
from stzoo import zoo
from stzoo.data import motions
from stzoo.models.family import SHARED, Family

EVERY_BUILDER = pytest.mark.parametrize("name", zoo.BUILDERS)
# A value other than the default for each option without a list of choices.
OTHER = {
    "fusions": ("sum", "concatenation", "compact_bilinear"),
    "attention": False,
    "normalize": False,
    "kernel_size": (3, 1, 1),
    "reduction": 2,
    "width": 24,
    "depths": (1, 2, 1, 1),
    "depth": 3,
    "dim": 128,
    "hidden": 32,
    "length": 4,
    "seed": 7,
    "units": 32,
}


def other_values(name):
    """Returns a value other than the default for each option of a builder."""
    family = zoo.family(name)
    for key, default in zoo.default_options(name).items():
        default = family.defaults.get(key, default)
        choices = family.choices.get(key, (OTHER.get(key), not default))
        yield key, next(value for value in choices if value not in (None, default))


@pytest.fixture
def graphs(monkeypatch):
    """Builders return the arguments of the graph instead of building it."""

    def receive(family, builder, config, name, source):
        return SimpleNamespace(name=name, received=config.options)

    monkeypatch.setattr("stzoo.models.family.Family._graph", receive)


@EVERY_BUILDER
def test_each_option_is_recorded_and_reaches_the_graph(name, graphs):
    for key, value in other_values(name):
        model = zoo.BUILDERS[name](**{key: value})
        assert model.stzoo.options[key] == value
        assert model.received is model.stzoo.options
        assert model.stzoo.options.keys() == zoo.default_options(name).keys()
        assert model.stzoo.builder == name


@EVERY_BUILDER
def test_shared_arguments_are_used(name, graphs):
    channels = zoo.BUILDERS[name]().stzoo.clip.shape[-1]
    shape = (60, None, 160, channels)
    model = zoo.BUILDERS[name](classes=7, input_shape=shape, name="mine")
    assert model.name == "mine"
    assert model.stzoo.classes == 7
    assert model.stzoo.clip.shape == shape
    with pytest.raises(ValueError, match="'nothing' is not a tag of " + name):
        zoo.BUILDERS[name](pretrained="nothing")


@EVERY_BUILDER
def test_a_graph_takes_the_options_of_its_builder(name):
    """The graph has each option of the builder as an argument, or `**options`."""
    builder = zoo.BUILDERS[name]
    graph = zoo.family(name).architectures[builder].graph
    inspect.signature(graph).bind("config", "name", **zoo.default_options(name))


@EVERY_BUILDER
def test_signatures_and_bodies_have_the_same_form(name):
    builder = zoo.BUILDERS[name]
    parameters = list(inspect.signature(builder).parameters)
    assert parameters[:3] == ["classes", "input_shape", "pretrained"]
    assert parameters[-1] == "name"
    (function,) = ast.parse(inspect.getsource(builder)).body
    docstring, *body = function.body
    assert docstring.value.value.count("\n") == 0
    assert body[-1].end_lineno - body[0].lineno < 6


@EVERY_BUILDER
def test_docstrings_list_every_argument_and_the_existing_tags(name):
    text = zoo.BUILDERS[name].__doc__
    for parameter in inspect.signature(zoo.BUILDERS[name]).parameters:
        assert f"\n    {parameter}: " in text
    tags = text[text.index("a tag (") : text.index("the path of a\n")]
    for entry in zoo.ENTRIES.values():
        assert (f'"{entry.tag}"' in tags) == (f"{name}.{entry.tag}" in zoo.ENTRIES), (
            entry.name
        )


def test_docstrings_state_defaults():
    text = stzoo.p3d_tiny.__doc__
    assert "to 12 for random weights." in text
    assert "`(16, 64, 64, 3)` for random weights." in text
    assert '"motions"' in text
    assert "(there is none)" in stzoo.tsn_tiny.__doc__
    assert "The input is RGB and optical flow from 0 to 255" in stzoo.stpn_vgg16.__doc__


def test_options_default_to_those_of_the_weights(graphs):
    assert stzoo.p3d_resnet50(semantics="port").stzoo.options == {
        "blocks": "ABC",
        "modality": "rgb",
        "semantics": "port",
    }


def test_the_options_of_weights_come_before_the_defaults_of_a_family():
    family = Family({}, (), defaults={"a": 1, "b": 2})
    record = SimpleNamespace(options={"a": 3}, new_head=False)
    source = SimpleNamespace(config=record, where="here")
    assert family._complete({"a": None, "b": None}, source) == {"a": 3, "b": 2}


def test_labels_are_kept_unless_the_number_of_classes_changes():
    same, other = (stzoo.cost_tiny(n, pretrained="motions").stzoo for n in (12, 3))
    assert same.labels == motions.CLASSES and same.dataset == "motions"
    assert (other.classes, other.labels, other.dataset) == (3, (), "")


def test_choices_are_checked(graphs):
    expected = "streams must be one of 'both', 'spatial', 'temporal'. Received: 'all'."
    with pytest.raises(ValueError, match=expected):
        stzoo.stpn_resnet50(streams="all")


def test_no_shared_argument_is_an_option():
    for family in zoo.FAMILIES:
        assert not set(SHARED) & family.arguments.keys()
