"""Reads safetensors files without loading them.

The tensors are views of the mapped file, so a large model needs the memory of its
variables only.
"""

import json

import numpy as np

TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"},
}


def read(path):
    """Maps the tensors of a file.

    Args:
        path: `pathlib.Path`.

    Returns:
        Dict from name to a read-only array. bfloat16 is converted to float32.

    Raises:
        ValueError: it is not a complete safetensors file, or it has another type.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy"):  # checks the sizes and offsets of the header
            pass
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return {
        name: _tensor(path, name, 8 + size, **entry) for name, entry in header.items()
    }


def _tensor(path, name, start, dtype, shape, data_offsets):
    if dtype not in (*TYPES, "BF16"):
        raise ValueError(f"{name} has the type {dtype}")
    if 0 in shape:
        return np.zeros(shape, TYPES.get(dtype, "<f4"))
    kind = "<u2" if dtype == "BF16" else TYPES[dtype]
    offset = start + data_offsets[0]
    tensor = np.memmap(path, kind, "r", offset, tuple(shape) or (1,))
    tensor = tensor.reshape(shape)
    if dtype == "BF16":  # the upper half of a float32
        return (tensor.astype("<u4") << 16).view("<f4")
    return tensor.view(np.ndarray)
