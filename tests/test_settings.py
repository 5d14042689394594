"""Keras' global settings do not change a network."""

import ast
import inspect
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest
from harness import ask, close, numpy, precision

import stzoo

SMALL = {"width": 4, "depths": (1, 1)}
DEEPER = {"width": 4, "depths": (2, 1, 1)}
FEW = {"width": 8, "depth": 3}
# Builder, options, clip.
FAMILIES = {
    "c2d": ("c2d_tiny", SMALL, (2, 32, 32, 3)),
    "c3d": ("c3d_tiny", DEEPER | {"kernel": "3x3x3"}, (3, 32, 32, 3)),
    "cost a": ("cost_tiny", DEEPER | {"variant": "a"}, (4, 32, 32, 3)),
    "cost b": ("cost_tiny", DEEPER, (3, 32, 32, 3)),
    "p3d": ("p3d_tiny", SMALL, (6, 32, 32, 3)),
    "p3d port": ("p3d_tiny", SMALL | {"semantics": "port"}, (16, 32, 32, 3)),
    "tsn": ("tsn_tiny", FEW | {"backbone": "inception_v3"}, (1, 75, 75, 3)),
    "tsm": ("tsm_tiny", FEW, (3, 32, 32, 3)),
    "gsm": ("gsm_tiny", FEW | {"attention": True}, (3, 32, 32, 3)),
    "cstm": ("cstm_tiny", FEW, (3, 32, 32, 3)),
    "s3d": ("s3d_tiny", {"width": 8, "gating": True}, (8, 32, 32, 3)),
    "trn": ("trn_tiny", FEW | {"units": 16}, (3, 32, 32, 3)),
    "stpn": ("stpn_tiny", {"width": 4, "length": 2, "dim": 16}, (4, 32, 32, 5)),
}
POLICIES = ["float16", "mixed_float16", "bfloat16"]
if keras.backend.backend() != "jax":  # which has no float64 unless told at its start
    POLICIES.append("float64")


@contextmanager
def settings(data_format="channels_last", epsilon=1e-7, floatx="float32"):
    """What keras.json may say."""
    try:
        keras.config.set_image_data_format(data_format)
        keras.config.set_epsilon(epsilon)
        keras.config.set_floatx(floatx)
        yield
    finally:
        keras.config.set_image_data_format("channels_last")
        keras.config.set_epsilon(1e-7)
        keras.config.set_floatx("float32")


def build(family):
    """A model that starts the same each time, and clips for it."""
    name, options, clip = FAMILIES[family]
    keras.utils.set_random_seed(0)
    model = stzoo.create(name, input_shape=clip, **options)
    x = np.random.default_rng(0).integers(0, 256, (2, *clip)).astype("uint8")
    return model, x


@pytest.mark.parametrize("family", FAMILIES)
def test_layout_and_epsilon_do_not_matter(family):
    model, x = build(family)
    with settings("channels_first", epsilon=0.1):
        other, _ = build(family)
        answer = ask(other, x)
    shapes = [(weight.path, weight.shape) for weight in model.weights]
    assert [(weight.path, weight.shape) for weight in other.weights] == shapes
    close(answer, ask(model, x))


@pytest.mark.parametrize("policy", POLICIES)
def test_logits_are_float32_under_any_policy(policy):
    model, x = build("cost b")
    expected = ask(model, x)
    floatx = "float32" if "mixed" in policy else policy
    with settings(floatx=floatx), precision(policy):
        other, _ = build("cost b")
        assert other.get_layer("normalize").output.dtype == policy.removeprefix(
            "mixed_"
        )
        assert other.get_layer("fc").input.dtype == "float32"  # so is dropout
        assert other.input.dtype == "float32"  # pixels need not be whole numbers
        answer = ask(other, x)
        assert answer.dtype == "float32"
        close(answer, expected, {"float64": 1e-5, "bfloat16": 0.05}.get(policy, 0.01))
        other.compile(keras.optimizers.SGD(1e-4), "mse")
        other.train_on_batch(x, expected)
        assert all(np.isfinite(numpy(weight)).all() for weight in other.weights)


@pytest.mark.parametrize("family", ["tsn", "stpn"])
def test_a_policy_that_quantizes_is_refused(family):
    with (
        precision("int8_from_float32"),
        pytest.raises(
            ValueError, match=r"int8_from_float32 quantizes.*quantize\(\"int8"
        ),
    ):
        build(family)


def test_every_layer_and_operation_says_that_channels_come_last():
    """Keras reads its settings where a `data_format` is not said."""
    package = Path(stzoo.__file__).parent
    found = 0
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        saying = {
            id(node.func)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and any(
                getattr(value, "value", None) == "channels_last"
                for value in [*node.args, *(word.value for word in node.keywords)]
            )
        }
        bases = {
            id(base)
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
            and "kwargs['data_format'] = 'channels_last'" in ast.unparse(node)
            for base in node.bases
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and asks_for_layout(ast.unparse(node)):
                found += 1
                where = f"{path.name}:{node.lineno} {ast.unparse(node)}"
                assert id(node) in saying | bases, where
    assert found > 5


def asks_for_layout(name):
    """Whether a dotted name is of a layer or operation that has a `data_format`."""
    module, _, rest = name.removeprefix("keras.").partition(".")
    if module not in ("layers", "ops", "backend"):
        return False
    thing = getattr(keras, module)
    for part in rest.split("."):
        thing = getattr(thing, part, None)
    if not callable(thing):
        return False
    chain = thing.__mro__ if inspect.isclass(thing) else (thing,)
    return any(
        "data_format" in inspect.signature(one).parameters
        for one in chain
        if one is not object
    )
