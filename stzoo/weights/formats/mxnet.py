"""Reads `.params` files of MXNet, from `Block.save_parameters` and `mx.nd.save`.

The format is little-endian: 8 bytes for the kind of file, 8 reserved bytes, the number
of arrays, the arrays, the number of names, and the names. The sizes in a file are
checked against its length before memory is allocated.
"""

import math
import struct

import numpy as np

FILE = 0x112
# The versions of an array, and whether they have a storage type.
ARRAYS = {0xF993FAC8: False, 0xF993FAC9: True, 0xF993FACA: True}
TYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")


def read(data):
    """Reads the arrays of a file.

    Args:
        data: bytes of a file.

    Returns:
        Dict from name to array. The arrays are views of `data`.

    Raises:
        ValueError: the data is not such a file, or it is incomplete.
    """
    source = _Source(data)
    if source.number("Q") != FILE:
        raise ValueError("it does not start like an MXNet file")
    source.take(8)
    arrays = [_array(source) for _ in _counted(source)]
    names = [bytes(source.take(source.number("Q"))) for _ in _counted(source)]
    try:
        names = [name.decode() for name in names]
    except UnicodeDecodeError:
        raise ValueError("it has a name that is not valid UTF-8") from None
    names = [name.removeprefix("arg:").removeprefix("aux:") for name in names]
    if source.left or len(names) != len(arrays) or len(set(names)) != len(names):
        raise ValueError(
            f"it has {len(arrays)} arrays, {len(set(names))} names and "
            f"{source.left} bytes after them"
        )
    return dict(zip(names, arrays, strict=True))


class _Source:
    """Bytes that are read in order, never beyond their end."""

    def __init__(self, data):
        self.data = memoryview(data)
        self.at = 0

    @property
    def left(self):
        return len(self.data) - self.at

    def take(self, count):
        if not 0 <= count <= self.left:
            raise ValueError(
                f"at byte {self.at}, it needs {count} more bytes, but has {self.left}"
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, kind):
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]


def _counted(source):
    """Returns a range of the next number, limited by the bytes that are left."""
    return range(min(source.number("Q"), source.left + 1))


def _array(source):
    magic = source.number("I")
    if magic not in ARRAYS:
        raise ValueError(f"at byte {source.at}, expected an array, but got {magic:#x}")
    if ARRAYS[magic] and (storage := source.number("i")):
        raise ValueError(f"it has a sparse array (storage type {storage})")
    count = source.number("I")
    if count > 32:  # a long product takes minutes
        raise ValueError(f"it has an array with {count} dimensions")
    shape = struct.unpack(f"<{count}q", source.take(8 * count))
    if not shape or min(shape) < 1:
        raise ValueError(f"it has an array of shape {shape}")
    source.take(8)  # the device of the array
    kind = source.number("i")
    if not 0 <= kind < len(TYPES):
        raise ValueError(f"it has an array of unknown type {kind}")
    dtype = np.dtype(TYPES[kind])
    numbers = np.frombuffer(source.take(math.prod(shape) * dtype.itemsize), dtype)
    return numbers.reshape(shape)
