"""MXNet's files are read as they are, and what is wrong ends in one error."""

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
        (b"", "at byte 0 it needs 8 more, but 0 are left"),
        (b"PK\3\4" + bytes(99), "does not start as a file of MXNet does"),
        (array(2, 2, magic=0xF993FAC7), "no array, but 0xf993fac7"),
        (array(2, 2, storage=1), "storage type 1, which is sparse"),
        (array(-2, -2), r"an array of the shape \(-2, -2\)"),
        (array(2**62, 2**62, 2**62), "needs 3923.* more, but 64 are left"),
        (array(10**18), "needs 4000000000000000000 more, but 64 are left"),
        (array(0), r"an array of the shape \(0,\)"),
        (array(), r"an array of the shape \(\)"),
        (array(2, ndim=2**32 - 1), "an array of 4294967295 dimensions"),
        (array(*[1] * 33), "an array of 33 dimensions"),
        (array(*[2**62] * 200_000), "an array of 200000 dimensions"),
        (array(2, kind=7), "type 7, which is not known"),
        (array(2, kind=-1), "type -1, which is not known"),
        (array(2), "1 arrays, 0 names and 48 bytes after them"),
        (struct.pack("<QQQ", 0x112, 0, 2**64 - 1), "needs 4 more, but 0 are left"),
        (struct.pack("<QQQQ", 0x112, 0, 0, 2**64 - 1), "needs 8 more, but 0 are left"),
        (params({"a": np.ones(2)}) + b"more", "1 arrays, 1 names and 4 bytes after"),
        (params({"a": np.ones(2)})[:-1] + b"\xff", "a name that is no text"),
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
