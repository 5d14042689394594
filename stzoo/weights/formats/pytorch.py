"""Checkpoints of PyTorch (`.pth`, `.pth.tar`, `.pt`): tensors by name, nothing else.

They are pickles, and unpickling can run anything that a file says. So it is left to
`torch.load(weights_only=True)`, which builds tensors and refuses the rest; PyTorch has
to be installed, whatever the backend. What a file would become is compared with its
bytes before any of it is read or copied.
"""

import io
import pickletools
import re
import zipfile
from reprlib import repr as shortened

import numpy as np

STEPS = 1_000_000  # of a pickle; networks of 1000 tensors take 40,000
TUPLE = 100  # parts of a tuple and of those in it; those of a tensor are 15


def read(data):
    """Reads a checkpoint.

    Args:
        data: bytes of a file: a dict of tensors, or a dict that has one under
            `"state_dict"`, as training scripts save it.

    Returns:
        Dict from name to float32 array, without the `module.` of parallel training.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: it is no such file, or it holds more than tensors and numbers.
    """
    torch = _torch()
    try:
        _check(data)
        with torch.serialization.safe_globals(_harmless()):
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return _named(state.get("state_dict", state), len(data))
    except Exception as error:  # of the archive, of the pickle, of what it holds
        code = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {code[1]}, which is not run" if code else str(error).strip()
        reason = reason.partition("\n")[0] or type(error).__name__
        if isinstance(error, LookupError | TypeError | AttributeError):
            reason = f"it has no tensors by their names ({reason})"
        raise ValueError(reason[:300]) from None


def read_safetensors(data):
    """Reads a file of safetensors as PyTorch writes it, in any of its precisions.

    Args:
        data: bytes of a file.

    Returns:
        As `read`.
    """
    _torch()
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return _named(load(data), len(data))
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _torch():
    try:
        import torch
    except ImportError:
        raise ImportError(
            "Reading a checkpoint of PyTorch takes PyTorch, with any backend of Keras: "
            "install `stzoo[torch]`."
        ) from None
    return torch


def _named(state, size):
    """NumPy arrays, without the prefix of parallel training.

    Several tensors can be views of the same few numbers, so there is a limit.
    """
    named = {}
    for name, tensor in state.items():
        if not hasattr(tensor, "numel"):
            raise ValueError(f"its {shortened(name)} is no tensor")
        named[re.sub(r"^module\.", "", name)] = tensor
    numbers = sum(tensor.numel() for tensor in named.values())
    if numbers > size:
        raise ValueError(f"its {size} bytes would become {numbers} numbers")
    return {name: tensor.detach().float().numpy() for name, tensor in named.items()}


def _check(data):
    """Raises an error for a file that would become much larger than it is."""
    file, pickles = io.BytesIO(data), 5  # an old file: four, and what lies before them
    if data.startswith(b"PK"):
        try:
            with zipfile.ZipFile(file) as archive:
                parts = archive.infolist()
                size = sum(part.file_size for part in parts)
                if size > len(data):
                    raise ValueError(f"its {len(data)} bytes would become {size}")
                names = [p for p in parts if p.filename.endswith("data.pkl")]
                file = io.BytesIO(b"".join(map(archive.read, names)))
                pickles = len(names)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"it is no whole zip ({error})") from None
    for _ in range(pickles):
        _check_pickle(file)


def _check_pickle(file):
    """Raises an error for tuples that are short in a file and endless to walk through.

    A tuple can hold another one twice, which holds another one twice, and so on. The
    steps of the pickle are followed with nothing but the sizes of tuples.
    """
    stack, memo = [], {}
    for step, (operation, argument, _) in enumerate(pickletools.genops(file)):
        name, needs = operation.name, len(operation.stack_before)
        made = len(operation.stack_after)
        if pickletools.markobject in operation.stack_before:
            start = len(stack) - stack[::-1].index("mark") - 1
            taken, needs = stack[start + 1 :], needs - 2
            del stack[start:]
        else:
            taken = []
        if needs:
            taken = stack[-needs:] + taken
            del stack[-needs:]
        if name == "MARK":
            made = ["mark"]
        elif name == "DUP":
            made = taken * 2
        elif name == "MEMOIZE":
            memo[len(memo)], made = taken[0], taken
        elif name.endswith("GET"):
            made = [memo[argument]]
        else:
            made = [1 + sum(taken) if "TUPLE" in name else 1] * made
        stack += made
        if name.endswith("PUT"):
            memo[argument] = stack[-1]
        if step > STEPS or made and made[0] != "mark" and made[0] > TUPLE:
            raise ValueError("it is a pickle of more than tensors")


def _harmless():
    """mmcv keeps the best accuracy beside the weights, a NumPy scalar."""
    scalar = np.float64().__reduce__()[0]
    types = [type(np.dtype(name)) for name in ("float32", "float64", "int64")]
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *types]
