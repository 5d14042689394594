"""Tests the reader of MXNet files: right values, and one clear error for bad files."""

import struct
import tracemalloc

import numpy as np
import pytest
from foreign import params

from stzoo.weights.formats.mxnet import read

RNG = np.random.default_rng(0)
TENSORS = {
    "layer1.0.conv1.weight": RNG.normal(size=(4, 3, 1, 7, 7)).astype("float32"),
    "bn1.gamma": RNG.normal(size=4).astype("float32"),
    "half": RNG.normal(size=(2, 3)).astype("float16"),
    "double": RNG.normal(size=(2, 3)),
    "whole": RNG.integers(0, 9, (2, 3)),
}
FILE = params(TENSORS)
START = struct.pack("<QQQ", 0x112, 0, 1)  # a file of one array


@pytest.mark.parametrize("version", [1, 2, 3])
def test_arrays_by_name(version):
    found = read(params(TENSORS, version))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)


def test_prefixes_of_old_files_go():
    old = params({"arg:conv": np.ones(2), "aux:mean": np.ones(2)})
    assert read(old).keys() == {"conv", "mean"}


@pytest.mark.parametrize("size", range(0, len(FILE), 97))
def test_every_cut_is_seen(size):
    with pytest.raises(ValueError):
        read(FILE[:size])


def array(*shape, magic=0xF993FAC9, storage=0, kind=0, ndim=None):
    ndim = len(shape) if ndim is None else ndim
    return (
        START
        + struct.pack("<IiI", magic, storage, ndim)
        + struct.pack(f"<{len(shape)}q", *shape)
        + struct.pack("<iii", 1, 0, kind)
        + bytes(64)
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "at byte 0, it needs 8 more bytes, but has 0"),
        (b"PK\3\4" + bytes(99), "does not start like an MXNet file"),
        (array(2, 2, magic=0xF993FAC7), "expected an array, but got 0xf993fac7"),
        (array(2, 2, storage=1), "a sparse array \\(storage type 1\\)"),
        (array(-2, -2), r"an array of shape \(-2, -2\)"),
        (array(2**62, 2**62, 2**62), "needs 3923.* more bytes, but has 64"),
        (array(10**18), "needs 4000000000000000000 more bytes, but has 64"),
        (array(0), r"an array of shape \(0,\)"),
        (array(), r"an array of shape \(\)"),
        (array(2, ndim=2**32 - 1), "an array with 4294967295 dimensions"),
        (array(*[1] * 33), "an array with 33 dimensions"),
        (array(*[2**62] * 200_000), "an array with 200000 dimensions"),
        (array(2, kind=7), "an array of unknown type 7"),
        (array(2, kind=-1), "an array of unknown type -1"),
        (array(2), "1 arrays, 0 names and 48 bytes after them"),
        (struct.pack("<QQQ", 0x112, 0, 2**64 - 1), "needs 4 more bytes, but has 0"),
        (struct.pack("<QQQQ", 0x112, 0, 0, 2**64 - 1), "needs 8 more bytes, but has 0"),
        (params({"a": np.ones(2)}) + b"more", "1 arrays, 1 names and 4 bytes after"),
        (params({"a": np.ones(2)})[:-1] + b"\xff", "a name that is not valid UTF-8"),
        (params({"arg:a": np.ones(2), "a": np.ones(2)}), "2 arrays, 1 names"),
    ],
)
def test_what_is_wrong_ends_in_one_error(data, message):
    tracemalloc.start()
    with pytest.raises(ValueError, match=message):
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
