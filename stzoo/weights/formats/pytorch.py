"""Checkpoints of PyTorch (`.pth`, `.pth.tar`, `.pt`, `.pyth`), read without PyTorch.

`torch.save` writes one of two formats (`_save` and `_legacy_save` in
`torch/serialization.py`):

* Since PyTorch 1.6, a zip of stored records in one folder: `data.pkl` is a pickle of
  the object, `data/KEY` has the bytes of a storage, `byteorder` is `little` or `big`.
* Before, pickles one after the other: a magic number, the version of the format, facts
  about the machine, the object, a list of the keys of storages. The storages follow in
  that order, each with the number of its elements in 8 bytes before it.

`stzoo.weights.formats.pytorch_pickle` reads the pickles. What a file would become is
compared with its bytes before any of it is copied. An array of float32 is a view of the
file where it can be.
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
RECORDS = 50_000  # of a zip, one for each storage
WRAPPERS = ("state_dict", "model_state", "model")
NESTED = 8  # wrappers in wrappers; a dict can hold itself
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
        data: bytes of a file: a dict of tensors, or a dict that has one under
            `"state_dict"`, `"model_state"` or `"model"`, as training scripts save it.

    Returns:
        Dict from name to float32 array, without the `module.` of parallel training.
        Arrays may be views of `data`, which cannot be written.

    Raises:
        ValueError: it is no such file, it is damaged, or it names what is not known.
    """
    try:
        opened = open_zip if data.startswith(b"PK") else open_legacy
        state, record = opened(data)
        return to_arrays(by_name(weights_of(state)), record, len(data))
    except Exception as error:  # of the archive, of the pickle, of what it holds
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if isinstance(error, LookupError | TypeError | AttributeError):
            reason = f"it has no tensors by their names ({reason})"
        elif isinstance(error, UnicodeError):
            reason = f"it has a name that is no text ({reason})"
        raise ValueError(reason[:300]) from None


def read_safetensors(data):
    """Reads a file of safetensors as PyTorch writes it, in any of its precisions.

    Args:
        data: bytes of a file.

    Returns:
        As `read`.

    Raises:
        ValueError: it is no such file.
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
    """The innermost dict of a checkpoint."""
    for _ in range(NESTED):
        if not isinstance(state, dict):
            break
        inner = [state[w] for w in WRAPPERS if isinstance(state.get(w), dict)]
        if not inner:
            return state
        state = inner[0]
    raise ValueError(f"it has no tensors by their names, but a {type(state).__name__}")


def by_name(state):
    """The tensors of a dict, without the prefix of parallel training."""
    named = {}
    for key, tensor in state.items():
        name = re.sub(r"^module\.", "", key)
        name.encode()  # a pickle can hold text that is none
        if name in named:
            raise ValueError(f"it has {shortened(name)} twice, once with module.")
        named[name] = tensor
    return named


def to_arrays(tensors, record, size):
    """NumPy arrays.

    Several tensors can be views of the same few numbers. The limit is float32 of twice
    the bytes of the file, or what they are if none is taken twice.

    Args:
        tensors: dict from name to `Tensor`.
        record: function from the key of a storage to its bytes.
        size: int, bytes of the file.
    """
    buffers, held = {}, {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            raise ValueError(f"its {shortened(name)} is no tensor ({kind})")
        key = tensor.storage.key
        if tensor.elements and key not in buffers:
            buffers[key] = record(key)
        room = len(buffers.get(key, b"")) // tensor.dtype.itemsize
        held[key] = min(room, held.get(key, 0) + tensor.elements)
    numbers = sum(tensor.elements for tensor in tensors.values())
    if numbers > max(size // 2, sum(held.values())):
        raise ValueError(f"its {size} bytes would become {numbers} numbers")
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
    """The object of a zip, and a function from the key of a storage to its bytes.

    Nothing is extracted: names in it are names only, wherever they point.
    """
    if data.count(b"PK\1\2") > RECORDS:
        raise ValueError(f"it has more than {RECORDS} records")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            records = archive.infolist()
    # zipfile raises NotImplementedError for a version that it does not know.
    except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
        raise ValueError(f"it is no whole zip ({error})") from None
    size = sum(record.file_size for record in records)
    if size > len(data):
        raise ValueError(f"its {len(data)} bytes would become {size}")
    named = {record.filename: record for record in records}
    folders = [name for name in named if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(folders) != 1 or len(named) < len(records):
        raise ValueError("it should have one data.pkl, and no name twice")
    folder = folders[0].removesuffix("data.pkl")

    def record(name):
        return stored(data, named, folder + name)

    if folder + "byteorder" in named and record("byteorder") != b"little":
        raise ValueError("its numbers are not little endian")
    state, _ = unpickle(record("data.pkl"), 0)
    return state, lambda key: record(f"data/{key}")


def stored(data, records, name):
    """A view of the bytes of a record."""
    if name not in records:
        raise ValueError(f"it has no {shortened(name)}")
    record = records[name]
    if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1:
        raise ValueError(f"its {shortened(name)} is compressed or encrypted")
    start = record.header_offset
    if data[start : start + 4] != b"PK\3\4":
        raise ValueError(f"its {shortened(name)} is not where it should be")
    start += 30 + sum(struct.unpack_from("<HH", data, start + 26))  # name and extras
    found = memoryview(data)[start : start + record.file_size]
    # `torch.serialization.set_crc32_options(False)` leaves the sum 0.
    right = not record.CRC or zlib.crc32(found) == record.CRC
    if len(found) < record.file_size or not right:
        raise ValueError(f"its {shortened(name)} is damaged")
    return found


def open_legacy(data):
    """As `open_zip`, for the format before."""
    if data[257:262] == b"ustar":
        raise ValueError(
            "it is a tar, as PyTorch wrote before 0.1.10: load it with PyTorch, and "
            "save it again"
        )
    data, kinds = memoryview(data), {}
    magic, at = unpickle(data, 0)
    if magic != MAGIC:
        raise ValueError("it does not start as a checkpoint of PyTorch does")
    version, at = unpickle(data, at)
    if version != VERSION:
        raise ValueError(f"its format is {shortened(version)}, not {VERSION}")
    _, at = unpickle(data, at)
    state, at = unpickle(data, at, kinds)
    keys, at = unpickle(data, at)
    records = {}
    for key in keys:
        elements = int.from_bytes(data[at : at + 8], "little")
        start, at = at + 8, at + 8 + elements * dtype_of(kinds[key]).itemsize
        if at > len(data):
            raise ValueError(f"it ends before storage {shortened(key)} does")
        records[key] = data[start:at]
    return state, records.__getitem__
