"""Caffe's files are read as they are, and what is wrong ends in one error."""

import sys

import numpy as np
import pytest
from foreign import _field, _varint, caffemodel

from stzoo.weights.formats.caffe import read

RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.normal(size=shape).astype("float32")


LAYERS = [
    ("conv1", "Convolution", [random(4, 3, 1, 7, 7)]),
    ("bn_conv1", "BN", [random(1, 4) for _ in range(4)]),
    ("res5a_branch2a", "Convolution", [random(8, 4, 1, 1)]),
    ("fc_kinetics", "InnerProduct", [random(5, 8), random(5)]),
]


@pytest.mark.parametrize("legacy", [True, False])
def test_blobs_by_name(legacy):
    found = read(caffemodel(LAYERS, legacy))
    expected = {
        "conv1.weight": LAYERS[0][2][0],
        "bn_conv1.weight": LAYERS[1][2][0][0],
        "bn_conv1.bias": LAYERS[1][2][1][0],
        "bn_conv1.running_mean": LAYERS[1][2][2][0],
        "bn_conv1.running_var": LAYERS[1][2][3][0],
        "res5a_branch2a.weight": LAYERS[2][2][0],
        "fc_kinetics.weight": LAYERS[3][2][0],
        "fc_kinetics.bias": LAYERS[3][2][1],
    }
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor)


def blob(shape, data):
    shape = _field(7, _field(1, b"".join(map(_varint, shape))))
    named = _field(1, b"conv1") + _field(2, b"Convolution")
    return _field(100, named + _field(7, _field(5, data) + shape))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no layers with weights"),
        (b"no caffemodel", "not a protobuf message"),
        (caffemodel(LAYERS)[:-9], "not a protobuf message"),
        (caffemodel([LAYERS[0], LAYERS[0]]), "two layers named .conv1"),
        (
            caffemodel([("a", "LSTM", [random(2)])]),
            "layer 'a' of type 'LSTM' has 1 blobs, but stzoo expects 0",
        ),
        (
            blob((2, 3), bytes(20)),
            r"weight. has the shape \(2, 3\), which does not match its 20 bytes",
        ),
        (
            blob((2**64 - 2, 3), bytes(24)),
            r"the shape \(-2, 3\), which does not match its 24 bytes",
        ),
        (blob((10**18,), bytes(24)), "does not match its 24 bytes"),
        (blob((2**62,) * 200_000, bytes(24)), "does not match its 24 bytes"),
        (blob((1,) * 70, bytes(4)), "does not match its 4 bytes"),
        (blob((), bytes(4)), r"the shape \(\), which does not match its 4 bytes"),
    ],
)
def test_what_is_wrong_ends_in_one_error(data, message):
    with pytest.raises(ValueError, match=message):
        read(data)


def test_without_protobuf_the_error_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(ImportError, match=r'pip install "stzoo\[caffe\]"'):
        read(b"")
