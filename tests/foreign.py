"""Writes the weight files of other frameworks, byte by byte."""

import io
import struct
import zipfile

import numpy as np

TYPES = {"f4": 0, "f8": 1, "f2": 2, "u1": 3, "i4": 4, "i1": 5, "i8": 6}


def params(tensors, version=2):
    """MXNet's `.params`: `tensors` is a dict from name to array."""
    parts = [struct.pack("<QQQ", 0x112, 0, len(tensors))]
    for tensor in tensors.values():
        parts.append(struct.pack("<I", 0xF993FAC7 + version))
        if version > 1:
            parts.append(struct.pack("<i", 0))
        parts.append(struct.pack(f"<I{tensor.ndim}q", tensor.ndim, *tensor.shape))
        parts.append(struct.pack("<iii", 1, 0, TYPES[tensor.dtype.str[1:]]))
        parts.append(tensor.tobytes())
    parts.append(struct.pack("<Q", len(tensors)))
    for name in map(str.encode, tensors):
        parts.append(struct.pack("<Q", len(name)) + name)
    return b"".join(parts)


def zipped(files):
    """A zip as bytes: `files` is a dict from name to bytes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def caffemodel(layers, legacy=False):
    """Caffe's `.caffemodel`: `layers` are tuples of name, type and arrays.

    Args:
        legacy: bool, give arrays four sizes instead of a shape, as old files do.
    """
    net = [_field(1, b"a net"), _field(100, _field(1, b"data") + _field(2, b"Input"))]
    for name, kind, blobs in layers:
        layer = _field(1, name.encode()) + _field(2, kind.encode())
        layer += _field(3, b"bottom") + _field(4, name.encode())
        layer += b"".join(_field(7, _blob(blob, legacy)) for blob in blobs)
        net.append(_field(100, layer))
    return b"".join(net)


def _blob(array, legacy):
    if legacy and array.ndim <= 4:
        sizes = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(
            _varint(number << 3) + _varint(size) for number, size in enumerate(sizes, 1)
        )
    else:
        shape = _field(7, _field(1, b"".join(map(_varint, array.shape))))
    return _field(5, np.ascontiguousarray(array, "<f4").tobytes()) + shape


def _field(number, content):
    """A field of bytes: text, a message or packed numbers."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number):
    data = []
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes([*data, number])
