"""Names and axes of PyTorch become those of Keras."""

import numpy as np
import pytest

from stzoo.models.cost import KEY_MAP
from stzoo.weights.convert import convert, dialect, rename


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("conv1.weight", "conv1/kernel"),
        ("layer1.0.bn1.weight", "layer1_0_bn1/gamma"),
        ("layer1.0.bn1.bias", "layer1_0_bn1/beta"),
        ("layer1.0.bn1.running_mean", "layer1_0_bn1/moving_mean"),
        ("layer1.0.bn1.running_var", "layer1_0_bn1/moving_variance"),
        ("layer2.0.downsample.0.weight", "layer2_0_downsample_0/kernel"),
        ("fc.bias", "fc/bias"),
        ("backbone.conv1.conv.weight", "conv1/kernel"),
        ("backbone.conv1.bn.weight", "bn1/gamma"),
        ("backbone.layer3.22.conv2.conv.weight", "layer3_22_conv2/kernel"),
        ("backbone.layer3.22.conv2.bn.running_var", "layer3_22_bn2/moving_variance"),
        ("backbone.layer3.22.conv2.conv.alpha", "layer3_22_conv2/alpha"),
        ("backbone.layer3.22.conv2.conv.fc1.weight", "layer3_22_conv2/fc1/kernel"),
        ("backbone.layer3.22.conv2.conv.fc2.weight", "layer3_22_conv2/fc2/kernel"),
        ("backbone.layer2.0.downsample.conv.weight", "layer2_0_downsample_0/kernel"),
        ("backbone.layer2.0.downsample.bn.bias", "layer2_0_downsample_1/beta"),
        ("cls_head.fc_cls.weight", "fc/kernel"),
    ],
)
def test_names(name, path):
    assert rename(name, {path}, KEY_MAP) == path


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((5, 4), "io"), ((5, 4, 2, 3), "hwio"), ((5, 4, 1, 2, 3), "thwio")],
)
def test_axes_of_kernels(shape, axes):
    kernel = np.random.default_rng(0).normal(size=shape)
    turned = np.einsum(f"oi{axes[:-2]}->{axes}", kernel)
    found = convert({"fc.weight": kernel}, {"fc/kernel": turned.shape})
    np.testing.assert_array_equal(found["fc/kernel"], turned)


def test_a_2d_kernel_is_inflated_and_a_flat_3d_kernel_is_2d():
    kernel = np.random.default_rng(0).normal(size=(5, 4, 2, 3))
    turned = kernel.transpose(2, 3, 1, 0)
    inflated = convert({"a.weight": kernel}, {"a/kernel": (3, *turned.shape)})
    np.testing.assert_allclose(inflated["a/kernel"], np.stack([turned / 3] * 3))
    flat = convert({"a.weight": kernel[:, :, None]}, {"a/kernel": turned.shape})
    np.testing.assert_array_equal(flat["a/kernel"], turned)


def test_a_deep_kernel_is_not_cut_down():
    kernel = np.zeros((5, 4, 3, 1, 1))
    found = convert({"a.weight": kernel}, {"a/kernel": (1, 1, 4, 5)})
    assert found["a/kernel"].shape == (3, 1, 1, 4, 5)  # and `check` will refuse it


def test_what_has_no_variable_keeps_its_name_and_counters_go():
    tensors = {"bn.num_batches_tracked": np.array(7), "aux.fc.weight": np.zeros(3)}
    assert convert(tensors, {"fc/bias": (3,)}, KEY_MAP).keys() == {"aux.fc.weight"}


def test_a_name_without_a_module_or_with_another_last_word():
    assert rename("scale", {}) == "/scale"
    assert rename("a.b.weight", {}) == "a_b/kernel"  # the first of the candidates
    assert rename("a.b.weight", {"a_b/gamma"}) == "a_b/gamma"
    assert rename("a.b.alpha", {"a_b/alpha"}) == "a_b/alpha"


def test_rules_are_applied_in_their_order():
    assert rename("a.weight", {}, ((r"^a\.", "b."), (r"^b\.", "c."))) == "c/kernel"
    assert rename("b.weight", {}, ((r"^b\.", "c."), (r"^a\.", "b."))) == "c/kernel"


def test_the_rules_of_a_source_are_told_by_a_name_of_it():
    key_map = {"x.weight": ((r"^x\.", "one."),), "y.weight": ((r"^y\.", "two."),)}
    assert dialect(key_map, ["z.bias", "y.weight"]) == key_map["y.weight"]
    assert dialect(key_map, ["x.weight"]) == key_map["x.weight"]
    assert dialect(key_map, ["z.weight"]) == ()
    assert dialect(key_map["x.weight"], ["z.weight"]) == key_map["x.weight"]
    found = convert({"y.weight": np.ones((2, 3))}, {"two/kernel": (3, 2)}, key_map)
    np.testing.assert_array_equal(found["two/kernel"], np.ones((3, 2)))


def test_tensors_after_a_counter_are_converted_too():
    tensors = {"bn.num_batches_tracked": np.array(7), "bn.weight": np.ones(3)}
    assert convert(tensors, {"bn/gamma": (3,)}).keys() == {"bn/gamma"}


def test_batch_norms_of_old_files_lose_their_first_axis():
    values = np.arange(3.0)
    found = convert({"bn.weight": values[None]}, {"bn/gamma": (3,)})
    np.testing.assert_array_equal(found["bn/gamma"], values)
    two = convert({"bn.weight": np.ones((2, 3))}, {"bn/gamma": (3,)})
    assert two["bn/gamma"].shape == (2, 3)  # which `check` will refuse


def test_only_kernels_turn():
    """An embedding of two axes, say: only the last word tells a kernel."""
    values = np.arange(6.0).reshape(2, 3)
    found = convert({"a.alpha": values}, {"a/alpha": (2, 3)})
    np.testing.assert_array_equal(found["a/alpha"], values)


def test_a_kernel_of_another_number_of_axes_stays():
    values = np.arange(24.0).reshape(2, 3, 4)
    found = convert({"a.weight": values}, {"a/kernel": (2, 3, 4)})
    np.testing.assert_array_equal(found["a/kernel"], values)


def test_a_kernel_is_neither_inflated_nor_flattened_where_axes_agree():
    kernel = np.random.default_rng(0).normal(size=(5, 4, 1, 2, 3))
    found = convert({"a.weight": kernel}, {"a/kernel": (1, 2, 3, 4, 5)})
    np.testing.assert_array_equal(found["a/kernel"], kernel.transpose(2, 3, 4, 1, 0))
    dense = np.ones((5, 4))
    assert convert({"a.weight": dense}, {"a/kernel": (1, 1, 1, 4, 5)})[
        "a/kernel"
    ].shape == (4, 5)


def test_two_tensors_for_one_variable():
    tensors = {"fc.bias": np.zeros(3), "cls_head.fc_cls.bias": np.ones(3)}
    with pytest.raises(
        ValueError,
        match="^cls_head.fc_cls.bias and another tensor both map to fc/bias$",
    ):
        convert(tensors, {"fc/bias": (3,)}, KEY_MAP)
