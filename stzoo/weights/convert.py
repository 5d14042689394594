"""Converts names and axes from PyTorch to Keras.

A layer has the same name as in the checkpoint, with underscores instead of dots. So a
name is converted in two steps: the key map of the family (`re.sub` pairs, in order)
rewrites the path of the module, and the last word tells the variable.
"""

import re

import numpy as np

# The last word of a PyTorch name, and the possible names of the variable in Keras.
VARIABLES = {
    "weight": ("kernel", "gamma"),
    "bias": ("bias", "beta"),
    "running_mean": ("moving_mean",),
    "running_var": ("moving_variance",),
}
# The order of axes by their number: linear layer, 2D and 3D convolution.
AXES = {2: (1, 0), 4: (2, 3, 1, 0), 5: (2, 3, 4, 1, 0)}


def convert(tensors, shapes, key_map=()):
    """Renames the tensors of a PyTorch checkpoint, and transposes kernels.

    A 2D kernel is inflated if the model has a 3D kernel: it is repeated in time and
    divided by the length, so a clip of one repeated frame gives the output of the frame
    (Carreira & Zisserman, CVPR 2017). A 3D kernel of length 1 can become a 2D kernel.

    Args:
        tensors: dict from PyTorch name to array.
        shapes: dict from variable path to the shape of the variable.
        key_map: pairs `(pattern, replacement)` for `re.sub`, see `dialect`.

    Returns:
        Dict from variable path to array. A tensor without a variable keeps its name.
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
            raise ValueError(f"{name} and another tensor both map to {path}")
        elif path.endswith("/kernel"):
            tensor = _turn(tensor, shapes[path])
        elif tensor.shape == (1, *shapes[path]):  # batch norms of old files
            tensor = tensor[0]
        converted[path] = tensor
    return converted


def dialect(key_map, names):
    """Returns the key map for a checkpoint.

    Args:
        key_map: pairs, or a dict of pairs, if sources use the same name for different
            things. A key of the dict is a name that only one of the sources has. If no
            key is in the checkpoint, there are no pairs.
        names: the names in the checkpoint.
    """
    if not isinstance(key_map, dict):
        return key_map
    return next((pairs for name, pairs in key_map.items() if name in names), ())


def rename(name, shapes, key_map=()):
    """Converts a PyTorch name, `layer1.0.bn1.bias`, to a path, `layer1_0_bn1/beta`."""
    for pattern, replacement in key_map:
        name = re.sub(pattern, replacement, name)
    module, _, last = name.rpartition(".")
    module = module.replace(".", "_")
    candidates = [f"{module}/{word}" for word in VARIABLES.get(last, (last,))]
    return next((path for path in candidates if path in shapes), candidates[0])


def _turn(tensor, shape):
    """Transposes a kernel to the order of axes in Keras, and inflates it if needed."""
    if tensor.ndim not in AXES:
        return tensor
    tensor = np.transpose(tensor, AXES[tensor.ndim])
    if tensor.ndim == 4 and len(shape) == 5:
        return np.repeat(tensor[None], shape[0], axis=0) / shape[0]
    if tensor.ndim == 5 and len(shape) == 4 and tensor.shape[0] == 1:
        return tensor[0]
    return tensor
