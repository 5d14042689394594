"""Reads PyTorch checkpoints (`.pth`, `.pth.tar`, `.pt`, `.pyth`) without PyTorch.

`torch.save` writes one of two formats (`_save` and `_legacy_save` in
`torch/serialization.py`):

* Since PyTorch 1.6, a zip without compression, with one folder: `data.pkl` is a pickle
  of the object, `data/KEY` is the content of a storage, `byteorder` is `little` or
  `big`.
* Before, a sequence of pickles: a magic number, the version of the format, system
  information, the object, and a list of the keys of storages. The storages follow in
  this order, each after the number of its elements in 8 bytes.

`stzoo.weights.formats.pytorch_pickle` reads the pickles. The size of the result is
checked against the size of the file before memory is allocated. Arrays of float32 are
views of the file if possible.
"""

import io
import re
import struct
import zipfile
import zlib
from reprlib import repr as shortened

import numpy as np

from stzoo.weights.formats.pytorch_pickle import Tensor, dtype_of, unpickle

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
RECORDS = 50_000  # in a zip, one for each storage
WRAPPERS = ("state_dict", "model_state", "model")
NESTED = 8  # levels of wrappers, since a dict can contain itself
SAFETENSORS = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "BOOL": "bool",
}


def read(data):
    """Reads a checkpoint.

    Args:
        data: bytes of a file with a dict of tensors, or with a dict that has one under
            `"state_dict"`, `"model_state"` or `"model"`, like those of training
            scripts.

    Returns:
        Dict from name to float32 array, without the prefix `module.` of parallel
        training. Arrays can be read-only views of `data`.

    Raises:
        ValueError: the data is not such a file, it is damaged, or it needs a class that
            is not allowed.
    """
    try:
        opened = open_zip if data.startswith(b"PK") else open_legacy
        state, record = opened(data)
        return to_arrays(by_name(weights_of(state)), record, len(data))
    except Exception as error:  # a malformed file can raise any error
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if isinstance(error, LookupError | TypeError | AttributeError):
            reason = f"it is not a dict of tensors ({reason})"
        elif isinstance(error, UnicodeError):
            reason = f"it has a name that is not valid text ({reason})"
        raise ValueError(reason[:300]) from None


def read_safetensors(data):
    """Reads a safetensors file with PyTorch names, in any precision.

    Args:
        data: bytes of a file.

    Returns:
        See `read`.

    Raises:
        ValueError: the data is not such a file.
    """
    from safetensors import SafetensorError, deserialize

    try:
        tensors = by_name(dict(deserialize(data)))
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    arrays = {}
    for name, tensor in tensors.items():
        dtype = dtype_of(SAFETENSORS.get(tensor["dtype"], tensor["dtype"]))
        array = np.frombuffer(tensor["data"], dtype)
        arrays[name] = to_float32(array).reshape(tensor["shape"])
    return arrays


def weights_of(state):
    """Returns the innermost dict of a checkpoint."""
    for _ in range(NESTED):
        if not isinstance(state, dict):
            break
        inner = [state[w] for w in WRAPPERS if isinstance(state.get(w), dict)]
        if not inner:
            return state
        state = inner[0]
    raise ValueError(f"it is not a dict of tensors, but a {type(state).__name__}")


def by_name(state):
    """Removes the prefix of parallel training from the names of a dict."""
    named = {}
    for key, tensor in state.items():
        name = re.sub(r"^module\.", "", key)
        name.encode()  # raises an error if a pickle has invalid text
        if name in named:
            raise ValueError(
                f'it has {shortened(name)} twice, with and without "module."'
            )
        named[name] = tensor
    return named


def to_arrays(tensors, record, size):
    """Converts tensors to NumPy arrays.

    A malicious file can have many tensors that are views of the same few numbers. So
    the size of all arrays is limited to twice the size of the file, or to the size of
    its storages as float32.

    Args:
        tensors: dict from name to `Tensor`.
        record: function from the key of a storage to its bytes.
        size: int, bytes of the file.

    Returns:
        Dict from name to float32 array.
    """
    buffers, held = {}, {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            raise ValueError(f"its {shortened(name)} is not a tensor ({kind})")
        key = tensor.storage.key
        if tensor.elements and key not in buffers:
            buffers[key] = record(key)
        room = len(buffers.get(key, b"")) // tensor.dtype.itemsize
        held[key] = min(room, held.get(key, 0) + tensor.elements)
    numbers = sum(tensor.elements for tensor in tensors.values())
    if numbers > max(size // 2, sum(held.values())):
        raise ValueError(f"its {size} bytes would expand to {numbers} numbers")
    arrays = {}
    for name, tensor in tensors.items():
        try:
            arrays[name] = to_float32(tensor.view(buffers.get(tensor.storage.key)))
        except ValueError as error:
            raise ValueError(f"its {shortened(name)} {error}") from None
    return arrays


def to_float32(array):
    with np.errstate(over="ignore", invalid="ignore"):  # large float64 becomes infinite
        return np.require(array, np.float32, ["ALIGNED"])


def open_zip(data):
    """Returns the object of a zip, and a function from a storage key to its bytes.

    Nothing is extracted to the disk, so paths in the zip are harmless.
    """
    if data.count(b"PK\1\2") > RECORDS:
        raise ValueError(f"it has more than {RECORDS} records")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            records = archive.infolist()
    # zipfile raises NotImplementedError for a version that it does not know.
    except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
        raise ValueError(f"it is not a zip, or it is damaged ({error})") from None
    size = sum(record.file_size for record in records)
    if size > len(data):
        raise ValueError(f"its {len(data)} bytes would expand to {size} bytes")
    named = {record.filename: record for record in records}
    folders = [name for name in named if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(folders) != 1 or len(named) < len(records):
        raise ValueError("it must have one data.pkl, and no name twice")
    folder = folders[0].removesuffix("data.pkl")

    def record(name):
        return stored(data, named, folder + name)

    if folder + "byteorder" in named and record("byteorder") != b"little":
        raise ValueError("its numbers are not little-endian")
    state, _ = unpickle(record("data.pkl"), 0)
    return state, lambda key: record(f"data/{key}")


def stored(data, records, name):
    """Returns a view of the bytes of a record."""
    if name not in records:
        raise ValueError(f"it has no {shortened(name)}")
    record = records[name]
    if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1:
        raise ValueError(f"its {shortened(name)} is compressed or encrypted")
    start = record.header_offset
    if data[start : start + 4] != b"PK\3\4":
        raise ValueError(f"its {shortened(name)} has a wrong offset")
    start += 30 + sum(struct.unpack_from("<HH", data, start + 26))  # name and extras
    found = memoryview(data)[start : start + record.file_size]
    # `torch.serialization.set_crc32_options(False)` writes the checksum 0.
    right = not record.CRC or zlib.crc32(found) == record.CRC
    if len(found) < record.file_size or not right:
        raise ValueError(f"its {shortened(name)} is damaged")
    return found


def open_legacy(data):
    """Does the same as `open_zip` for the old format."""
    if data[257:262] == b"ustar":
        raise ValueError(
            "it is a tar file from before PyTorch 0.1.10. Load it with PyTorch, and "
            "save it again"
        )
    data, kinds = memoryview(data), {}
    magic, at = unpickle(data, 0)
    if magic != MAGIC:
        raise ValueError("it does not start like a PyTorch checkpoint")
    version, at = unpickle(data, at)
    if version != VERSION:
        raise ValueError(f"its format version is {shortened(version)}, not {VERSION}")
    _, at = unpickle(data, at)
    state, at = unpickle(data, at, kinds)
    keys, at = unpickle(data, at)
    records = {}
    for key in keys:
        elements = int.from_bytes(data[at : at + 8], "little")
        start, at = at + 8, at + 8 + elements * dtype_of(kinds[key]).itemsize
        if at > len(data):
            raise ValueError(f"it ends within the storage {shortened(key)}")
        records[key] = data[start:at]
    return state, records.__getitem__
