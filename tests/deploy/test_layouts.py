"""Both layouts of an export compute what `stzoo.backend.generic` does."""

import itertools

import numpy as np
import pytest
import torch
from harness import numpy
from keras import ops

import stzoo
from stzoo.backend import deploy_torch, generic
from stzoo.backend.generic import Epilogue
from stzoo.deploy import export
from stzoo.deploy.formats import FORMATS

SIZES = list(itertools.product((4, 5, 8), (7, 8)))  # frames, height and width


@pytest.fixture(params=["images", "volumes"])
def deploy(request, monkeypatch):
    monkeypatch.setattr(deploy_torch, "VOLUMES", request.param == "volumes")
    return deploy_torch


def random(*shape):
    return np.random.default_rng(0).random(shape, "float32") - 0.5


def close(found, expected):
    expected = numpy(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(numpy(found), expected, atol=2e-6)


@pytest.mark.parametrize(
    "pool_size, strides",
    [
        *(((1, 3, 3), (1, 2, 2)), ((2, 3, 3), (2, 2, 2)), ((3, 3, 3), (2, 2, 2))),
        *(((2, 1, 1), (2, 1, 1)), ((3, 3, 3), (1, 1, 1)), ((3, 1, 1), (1, 1, 1))),
    ],
)
@pytest.mark.parametrize("frames, side", SIZES)
def test_pools(deploy, frames, side, pool_size, strides):
    x = np.maximum(random(2, frames, side, side, 4), 0)
    window = list(zip((frames, side, side), pool_size, strides, strict=True))
    for margins in (
        [((size - 1) // 2,) * 2 for size in pool_size],
        [(0, (n - size) % stride) for n, size, stride in window],
        [(0, 0)] * 3,
        [(1, 0), (0, 1), (0, 0)],
    ):
        found = deploy.max_pool(torch.tensor(x), pool_size, strides, margins)
        close(found, generic.max_pool(x, pool_size, strides, margins))
    close(deploy.average_pool_3x3(torch.tensor(x)), generic.average_pool_3x3(x))


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize("padded", [True, False])
def test_convolutions_of_frames(deploy, strides, padded):
    x, kernel, bias = random(2, 3, 8, 7, 4), random(3, 3, 4, 5), random(5)
    images = x.reshape(-1, *x.shape[2:])
    how = {"strides": strides, "padded": padded}
    expected = numpy(generic.conv2d(images, kernel, **how)) + bias
    expected = expected.reshape(2, 3, *expected.shape[1:])
    residual = random(*expected.shape)
    epilogue = Epilogue(torch.tensor(bias), torch.tensor(residual))
    x, kernel = torch.tensor(x), torch.tensor(kernel)
    found = deploy.conv2d(x, kernel, **how, epilogue=epilogue)
    close(found, expected + residual)
    # A second one reads what the first one keeps.
    again = torch.tensor(random(1, 1, 5, 2))
    close(deploy.conv2d(found, again), numpy(found) @ numpy(again)[0, 0])


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_convolutions_of_channels(deploy, strides):
    x, kernel = random(2, 3, 8, 7, 4), random(3, 3, 1, 4)
    expected = generic.depthwise_conv2d(x.reshape(-1, *x.shape[2:]), kernel, strides)
    expected = numpy(expected).reshape(2, 3, *expected.shape[1:])
    found = deploy.depthwise_conv2d(torch.tensor(x), torch.tensor(kernel), strides)
    close(found, expected)


@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 1, 1), (2, 2, 2)])
def test_convolutions_of_clips(deploy, strides):
    x, kernel = random(2, 4, 7, 8, 3), random(3, 3, 1, 3, 5)
    found = deploy.conv3d(torch.tensor(x), torch.tensor(kernel), strides)
    close(found, generic.conv3d(x, kernel, strides))


@pytest.mark.parametrize("rows", [slice(1, 2), slice(0, 3, 2)])
def test_a_dilation_leaves_out_what_is_zero(deploy, rows):
    x, kernel = random(2, 4, 7, 8, 3), np.zeros((3, 3, 3, 3, 5), "float32")
    kernel[::2, rows] = random(*kernel[::2, rows].shape)
    dilation = (2, 1 if rows == slice(1, 2) else 2, 1)
    part = torch.tensor(kernel[::2, rows])
    found = deploy.conv3d(torch.tensor(x), part, dilation=dilation)
    close(found, generic.conv3d(x, kernel))


def test_sums_and_maxima_of_clips(deploy):
    clips, weights = [random(2, 3, 4, 5, 6)] * 2, [random(2, 6), random(2, 6) + 1]
    found = deploy.weighted_sum(
        list(map(torch.tensor, clips)), [*map(torch.tensor, weights)]
    )
    arrays = [[ops.convert_to_tensor(a) for a in group] for group in (clips, weights)]
    close(found, generic.weighted_sum(*arrays))
    close(deploy.max_over_clip(found), numpy(found).max((1, 2, 3)))
    sampled = deploy.subsample(torch.tensor(clips[0]), (2, 1, 2))
    close(sampled, generic.subsample(clips[0], (2, 1, 2)))


def test_channels_are_concatenated(deploy):
    clips = [random(2, 3, 4, 5, 6), random(2, 3, 4, 5, 1)]
    found = deploy.concatenate(list(map(torch.tensor, clips)))
    close(found, generic.concatenate(clips))
    kernel = random(1, 1, 7, 2)
    close(deploy.conv2d(found, torch.tensor(kernel)), numpy(found) @ kernel[0, 0])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("channels", [3, 10])
def test_normalisation(deploy, channels, reverse):
    x, (mean, std) = random(2, 3, 4, 5, channels), random(2, channels) + 1
    how = tuple(mean.tolist()), tuple(std.tolist()), reverse
    expected = (x - mean) / std
    expected = expected[..., ::-1] if reverse else expected
    close(generic.normalize(ops.convert_to_tensor(x), *how), expected)
    close(deploy.normalize(torch.tensor(x), *how), expected)


def test_a_clip_remembers_what_it_was_made_of(deploy):
    """So a runtime has no transposition between two convolutions."""
    images, volume = torch.zeros(6, 4, 5, 7), torch.zeros(2, 4, 3, 5, 7)
    clip = deploy._of_images(images, 3)
    assert clip.shape == deploy._of_volume(volume).shape == (2, 3, 5, 7, 4)
    assert deploy._images(clip) is images
    assert deploy._volume(deploy._of_volume(volume)) is volume
    assert deploy.shape_of(clip) == (-1, 3, 5, 7, 4)
    kernel = torch.zeros(1, 3, 3, 4, 4)
    for answer in (
        *(deploy.keeps_images(), deploy.has_fast_conv3d(clip)),
        *(deploy.has_dilated_conv3d(), deploy.prefers_conv3d(clip, kernel, (1, 1, 1))),
    ):
        assert answer is True


@pytest.mark.parametrize(
    "family, layout",
    [
        *(("tsn_tiny", "images"), ("tsm_tiny", "images"), ("gsm_tiny", "images")),
        *(("cost_tiny", "volumes"), ("c3d_tiny", "volumes"), ("p3d_tiny", "volumes")),
        *(("c2d_tiny", "volumes"), ("s3d_tiny", "volumes")),
    ],
)
def test_networks_that_look_along_time_are_exported_as_volumes(family, layout):
    model = stzoo.create(family, input_shape=(8, 32, 32, 3))
    assert export._layout(FORMATS["openvino"], model) == layout
    assert export._layout(FORMATS["litert"], model) == "lowered"
    assert export._layout(FORMATS["onnx"], model) == "images"


def test_a_window_that_is_larger_than_its_input_is_padded():
    """OpenVINO refuses it."""
    x = torch.zeros(1, 1, 2, 2)
    padded, how = deploy_torch._margined(x, (3, 3), (2, 2), [(0, 1), (0, 1)])
    assert padded.shape == (1, 1, 3, 3) and not how
    x = torch.zeros(1, 1, 4, 4)
    assert deploy_torch._margined(x, (3, 3), (2, 2), [(0, 1), (0, 1)])[1] == {
        "ceil_mode": True
    }
