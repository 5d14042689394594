"""MXNet's `.params`, as `Block.save_parameters` and `mx.nd.save` write them.

All little endian: 8 bytes that say the kind of file, 8 reserved, the number of arrays
and the arrays; the number of names and the names. What a file says of sizes is
checked against what it holds before anything is made of it.
"""

import math
import struct

import numpy as np

FILE = 0x112
# An array with a storage type (2 and 3, the latter of NumPy's shapes) or without.
ARRAYS = {0xF993FAC8: False, 0xF993FAC9: True, 0xF993FACA: True}
TYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")


def read(data):
    """The arrays of a file by name.

    Args:
        data: bytes.

    Returns:
        Dict from name to array; arrays are views of `data`.

    Raises:
        ValueError: it is no such file, or not whole.
    """
    source = _Source(data)
    if source.number("Q") != FILE:
        raise ValueError("it does not start as a file of MXNet does")
    source.take(8)
    arrays = [_array(source) for _ in _counted(source)]
    names = [bytes(source.take(source.number("Q"))) for _ in _counted(source)]
    try:
        names = [name.decode() for name in names]
    except UnicodeDecodeError:
        raise ValueError("it has a name that is no text") from None
    names = [name.removeprefix("arg:").removeprefix("aux:") for name in names]
    if source.left or len(names) != len(arrays) or len(set(names)) != len(names):
        raise ValueError(
            f"it has {len(arrays)} arrays, {len(set(names))} names and "
            f"{source.left} bytes after them"
        )
    return dict(zip(names, arrays, strict=True))


class _Source:
    """Bytes that are taken one piece after the other, never more than there are."""

    def __init__(self, data):
        self.data = memoryview(data)
        self.at = 0

    @property
    def left(self):
        return len(self.data) - self.at

    def take(self, count):
        if not 0 <= count <= self.left:
            raise ValueError(
                f"at byte {self.at} it needs {count} more, but {self.left} are left"
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, kind):
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]


def _counted(source):
    """As many turns as the next number says; each takes bytes, so they end."""
    return range(min(source.number("Q"), source.left + 1))


def _array(source):
    magic = source.number("I")
    if magic not in ARRAYS:
        raise ValueError(f"at byte {source.at} there is no array, but {magic:#x}")
    if ARRAYS[magic] and (storage := source.number("i")):
        raise ValueError(f"it has an array of storage type {storage}, which is sparse")
    count = source.number("I")
    if count > 32:  # the product of very many sizes takes minutes
        raise ValueError(f"it has an array of {count} dimensions")
    shape = struct.unpack(f"<{count}q", source.take(8 * count))
    if not shape or min(shape) < 1:
        raise ValueError(f"it has an array of the shape {shape}")
    source.take(8)  # the device that it was on
    kind = source.number("i")
    if not 0 <= kind < len(TYPES):
        raise ValueError(f"it has an array of type {kind}, which is not known")
    dtype = np.dtype(TYPES[kind])
    numbers = np.frombuffer(source.take(math.prod(shape) * dtype.itemsize), dtype)
    return numbers.reshape(shape)
