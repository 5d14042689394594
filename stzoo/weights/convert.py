"""PyTorch names and axes to Keras.

A layer is called as in its checkpoint, dots as underscores, so a foreign name is
found by two steps: the family's key map (`re.sub` pairs, in order) rewrite the module's
path, and the last word says which variable it is.
"""

import re

import numpy as np

# The last word of a PyTorch name, and what Keras may call that variable.
VARIABLES = {
    "weight": ("kernel", "gamma"),
    "bias": ("bias", "beta"),
    "running_mean": ("moving_mean",),
    "running_var": ("moving_variance",),
}
# How the axes of a kernel turn, by their number: linear, 2D and 3D convolution.
AXES = {2: (1, 0), 4: (2, 3, 1, 0), 5: (2, 3, 4, 1, 0)}


def convert(tensors, shapes, key_map=()):
    """Renames and turns the tensors of a PyTorch checkpoint.

    A 2D kernel that meets a 3D kernel is repeated in time and divided by its length,
    so that a clip of one repeated frame gets the answer of the frame (inflation,
    Carreira & Zisserman, CVPR 2017); a 3D kernel of length 1 serves as a 2D kernel.

    Args:
        tensors: dict from PyTorch name to array.
        shapes: dict from variable path to the shape it should have.
        key_map: pairs `(pattern, replacement)` for `re.sub`, see `dialect`.

    Returns:
        Dict from variable path to array. A tensor without a variable keeps its name,
        for the caller to report.
    """
    key_map = dialect(key_map, tensors)
    converted = {}
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked"):
            continue
        path = rename(name, shapes, key_map)
        if path not in shapes:
            path = name
        elif path in converted:
            raise ValueError(f"{name} and another tensor both become {path}")
        elif path.endswith("/kernel"):
            tensor = _turn(tensor, shapes[path])
        elif tensor.shape == (1, *shapes[path]):  # batch norms of old files
            tensor = tensor[0]
        converted[path] = np.ascontiguousarray(tensor)
    return converted


def dialect(key_map, names):
    """The key map for a checkpoint with these names.

    Args:
        key_map: pairs, or a dict of them where sources use one name for two things:
            from a name that only one of the sources has. Without it, names stay.
        names: the names of the checkpoint.
    """
    if not isinstance(key_map, dict):
        return key_map
    return next((pairs for name, pairs in key_map.items() if name in names), ())


def rename(name, shapes, key_map=()):
    """The variable path of a PyTorch name: `layer1.0.bn1.bias`, `layer1_0_bn1/beta`."""
    for pattern, replacement in key_map:
        name = re.sub(pattern, replacement, name)
    module, _, last = name.rpartition(".")
    module = module.replace(".", "_")
    candidates = [f"{module}/{word}" for word in VARIABLES.get(last, (last,))]
    return next((path for path in candidates if path in shapes), candidates[0])


def _turn(tensor, shape):
    """A kernel with its axes as Keras has them."""
    if tensor.ndim not in AXES:
        return tensor
    tensor = np.transpose(tensor, AXES[tensor.ndim])
    if tensor.ndim == 4 and len(shape) == 5:
        return np.repeat(tensor[None], shape[0], axis=0) / shape[0]
    if tensor.ndim == 5 and len(shape) == 4 and tensor.shape[0] == 1:
        return tensor[0]
    return tensor
