"""Reads the pickles in PyTorch checkpoints, without running any code of them.

In these pickles, a storage is a persistent id `("storage", type, key, device,
elements)`. A tensor is a call of `torch._utils._rebuild_tensor_v2(storage, offset,
shape, strides, ...)` (`torch/_utils.py`). Sizes are in elements.

A pickle can call everything that it names. So each name is looked up in `GLOBALS`,
which has only stand-ins: for tensors, for dicts, and for other objects in checkpoints,
whose content is ignored. The names are those that `torch.load(weights_only=True)`
accepts (`torch/_weights_only_unpickler.py`), and some that training scripts use.
"""

import io
import math
import pickle
import pickletools
from reprlib import repr as shortened

import ml_dtypes
import numpy as np

STEPS = 400_000  # limit of a pickle; a network with 1000 tensors takes 40,000
BYTES = 8_000_000  # limit of a pickle; a network with 1000 tensors takes 200,000
TUPLE = 100  # limit for nested items of a tuple; a tensor has 15
DIMENSIONS = 32  # the limit of NumPy 1
# The allowed operations. EMPTY_SET is not allowed, since it expands one byte to 200.
# EXT1 is not allowed, since it gets a class from a registry.
OPERATIONS = set(
    """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG1
    BINFLOAT BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINUNICODE
    SHORT_BINUNICODE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS
    EMPTY_DICT SETITEM SETITEMS BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL
    STACK_GLOBAL BINPERSID REDUCE NEWOBJ BUILD
    """.split()
)


def unpickle(data, at, kinds=None):
    """Returns the object of a pickle, and the position of its end.

    Args:
        data: view of bytes.
        at: int, the position of the start of the pickle.
        kinds: dict to which the type of each storage is added by its key.
    """
    file = io.BytesIO(data[at : at + BYTES])
    check_pickle(file)
    end = file.tell()
    file.seek(0)
    found = Unpickler(file, {} if kinds is None else kinds).load()
    if file.tell() != end:  # a frame can hide a second pickle
        raise ValueError("its pickle has two ends")
    return found, at + end


def check_pickle(file):
    """Raises an error for pickles that are small in a file and huge in memory.

    A tuple can contain another one twice, which contains another one twice, and so on.
    A memo is allocated up to its largest index. So the steps of the pickle are
    simulated, with sizes of tuples instead of objects.
    """
    stack, marks, memo = [], [], {}
    for step, (operation, argument, _) in enumerate(pickletools.genops(file)):
        name, needs = operation.name, operation.stack_before
        if name == "MARK":
            marks.append(len(stack))
            continue
        end, below = len(stack), len(needs)
        if pickletools.markobject in needs:
            end = marks.pop() if marks else -1
            below = needs.index(pickletools.markobject)
        if end - below < (marks[-1] if marks else 0):
            raise ValueError(f"its pickle lacks a mark or arguments for {name}")
        taken = stack[end - below :]
        del stack[end - below :]
        size = 1 + sum(taken) if "TUPLE" in name else 1
        if name.endswith("GET"):
            size = memo[argument]
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            size = taken[0] if taken else stack[-1]
            memo[len(memo) if argument is None else argument] = size
        stack += [size] * len(operation.stack_after)
        far = name.endswith("PUT") and argument > step
        if step > STEPS or size > TUPLE or far or name not in OPERATIONS:
            raise ValueError(f"its pickle has more than tensors ({name})")


class Unpickler(pickle.Unpickler):
    """Builds stand-ins instead of the objects that a pickle names."""

    def __init__(self, file, kinds):
        # Python 2 does not distinguish text and bytes. Only text is needed.
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self.kinds = kinds

    def find_class(self, module, name):
        name = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if name not in GLOBALS:
            name = name.removeprefix("builtins.")
            raise ValueError(f"it needs {name}, which is not allowed")
        return GLOBALS[name]

    def persistent_load(self, pid):
        if type(pid) is not tuple or pid[0] != "storage":
            raise ValueError(f"it refers to {shortened(pid)}, which is not a storage")
        _, kind, key, _, elements, *views = pid
        self.kinds.setdefault(key, kind)
        if not any(views):
            return Storage(kind, key, 0, elements)
        [(_, offset, elements)] = views  # the old format has parts of a storage
        return Storage(kind, key, offset, elements)


# The stand-ins are shared by all files. BUILD can set attributes of objects, even of
# classes, unless they have a `__setstate__`, which it calls instead.


class Inert:
    def __setstate__(self, state):
        pass


class Other(Inert):
    """Any other object in a checkpoint. Its content is ignored."""

    def __new__(cls, *args):
        return super().__new__(cls)


class First(Inert):
    """Returns its first argument, such as the tensor of a parameter."""

    def __new__(cls, part, *args):
        return part


class Subclass(Inert):
    """Returns the tensor of a subclass, or of a tensor with attributes."""

    def __new__(cls, rebuild, kind, args, state):
        return rebuild(*args)  # only stand-ins can be called


class Ordered(Inert, dict):
    """An `OrderedDict`. In a pickle of Python 2, it has a list of pairs.

    The list is emptied, so that a file cannot create many dicts from one list.
    """

    def __init__(self, pairs=()):
        super().__init__(pairs)
        if pairs:
            pairs.clear()


class Storage(Inert):
    def __init__(self, kind, key, offset, elements):
        self.dtype, self.key = dtype_of(kind), key
        self.offset, self.elements = natural(offset), natural(elements)


class Tensor(Inert):
    """The part of a storage that is a tensor. Sizes are in elements."""

    def __init__(self, storage, offset, shape, strides, *more):
        self.storage, self.dtype, self.offset = storage, storage.dtype, natural(offset)
        self.shape, self.strides = shape, strides
        # A list could still grow.
        if not type(shape) is type(strides) is tuple or len(shape) > DIMENSIONS:
            raise ValueError(f"it has a tensor of shape {shortened(shape)}")
        self.elements = math.prod(map(natural, shape))
        self.reach = sum(
            (length - 1) * natural(stride)
            for length, stride in zip(shape, strides, strict=True)
        )
        if any(more[2:]):  # after requires_grad and hooks
            raise ValueError(f"it has a tensor with {shortened(more[2])}")

    def view(self, buffer):
        """Returns the array, a view of the bytes of the storage."""
        if not self.elements:
            return np.zeros(self.shape, self.dtype)
        size, start = self.storage.dtype.itemsize, self.storage.offset
        end = start + self.storage.elements
        if end * size > len(buffer):
            raise ValueError(f"needs {end * size} bytes, but has {len(buffer)}")
        buffer, size = buffer[start * size : end * size], self.dtype.itemsize
        last = self.offset + self.reach
        if last >= len(buffer) // size:
            raise ValueError(f"needs {last + 1} numbers, but has {len(buffer) // size}")
        strides = [stride * size for stride in self.strides]
        return np.ndarray(self.shape, self.dtype, buffer, self.offset * size, strides)


class TypedTensor(Tensor):
    """A tensor of an untyped storage."""

    def __init__(self, storage, offset, shape, strides, grad, hooks, kind, *more):
        super().__init__(storage, offset, shape, strides, grad, hooks, *more)
        self.dtype = dtype_of(kind)


def natural(number):
    if type(number) is not int or not 0 <= number < 2**63:
        raise ValueError(f"it has the size {shortened(number)}")
    return number


def dtype_of(kind):
    if kind not in KINDS:
        raise ValueError(f"it has numbers of unknown type {shortened(kind)}")
    return np.dtype(getattr(ml_dtypes, kind, kind))


STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}
KINDS = {*STORAGES.values(), "uint16", "uint32", "uint64"}
KINDS |= {f"float8_{kind}" for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz")}
BESIDE = """
    _codecs.encode argparse.Namespace builtins.bytearray builtins.complex builtins.set
    collections.Counter datetime.date datetime.datetime datetime.timedelta numpy.dtype
    numpy.ndarray numpy.core.multiarray._reconstruct numpy.core.multiarray.scalar
    numpy._core.multiarray._reconstruct numpy._core.multiarray.scalar
    pathlib.Path pathlib.PosixPath pathlib.PurePosixPath pathlib.PureWindowsPath
    pathlib.WindowsPath torch.Tensor torch.device torch.serialization._get_layout
    torch._utils._rebuild_meta_tensor_no_storage torch._utils._rebuild_sparse_tensor
""".split()
GLOBALS = {
    **{name: type(name, (Other,), {}) for name in BESIDE},
    **{f"torch.{name}Storage": kind for name, kind in STORAGES.items()},
    **{f"torch.cuda.{name}Storage": kind for name, kind in STORAGES.items()},
    **{f"torch.{kind}": kind for kind in KINDS},
    "torch.storage.UntypedStorage": "uint8",
    "torch._utils._rebuild_tensor": Tensor,
    "torch._utils._rebuild_tensor_v2": Tensor,
    "torch._utils._rebuild_tensor_v3": TypedTensor,
    "torch._utils._rebuild_parameter": First,
    "torch._utils._rebuild_parameter_with_state": First,
    "torch.nn.parameter.Parameter": First,
    "torch.Size": First,
    "torch._tensor._rebuild_from_type_v2": Subclass,
    "collections.OrderedDict": Ordered,
}
