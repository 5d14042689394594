"""Checkpoints of PyTorch (`.pth`, `.pth.tar`, `.pt`): tensors by name, nothing else.

They are pickles, and unpickling can run anything that a file says. So it is left to
`torch.load(weights_only=True)`, which builds tensors and refuses the rest; PyTorch has
to be installed, whatever the backend.
"""

import io
import re

import numpy as np


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
        with torch.serialization.safe_globals(_harmless()):
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return _named(state.get("state_dict", state))
    except Exception as error:  # of the archive, of the pickle, of what it holds
        code = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {code[1]}, which is not run" if code else str(error).strip()
        reason = reason.partition("\n")[0] or type(error).__name__
        raise ValueError(reason) from None


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
        return _named(load(data))
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


def _named(state):
    """NumPy arrays, without the prefix of parallel training."""
    named = {re.sub(r"^module\.", "", name): t for name, t in state.items()}
    return {name: tensor.float().numpy() for name, tensor in named.items()}


def _harmless():
    """mmcv keeps the best accuracy beside the weights, a NumPy scalar."""
    scalar = np.float64().__reduce__()[0]
    types = [type(np.dtype(name)) for name in ("float32", "float64", "int64")]
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *types]
