"""Handles models with LoRA or quantization of Keras.

Hu et al.: LoRA, ICLR 2022. https://arxiv.org/abs/2106.09685
"""

import keras
from keras import ops


def merged(model):
    """Returns the values of the variables of a model, with LoRA merged into kernels.

    Args:
        model: `keras.Model`.

    Returns:
        Dict from variable path to array, without the variables of LoRA. A model without
        LoRA has the same outputs with these values.
    """
    values = {
        weight.path: ops.convert_to_numpy(weight.value) for weight in model.weights
    }
    for layer in _layers(model):
        if getattr(layer, "lora_enabled", False):
            paths = layer.lora_kernel_a.path, layer.lora_kernel_b.path
            a, b = (values.pop(path).astype("float32") for path in paths)
            path = paths[0].removesuffix("lora_kernel_a") + "kernel"
            kernel = values[path].astype("float32")
            values[path] = kernel + layer.lora_alpha / layer.lora_rank * (a @ b)
    return values


def check_floats(model, advice):
    """Raises an error if Keras has quantized a layer of a model.

    Args:
        model: `keras.Model`.
        advice: string, what to do instead.
    """
    found = {
        layer.path: layer.quantization_mode
        for layer in _layers(model)
        if layer.quantization_mode
    }
    if found:
        modes = ", ".join(sorted(set(found.values())))
        names = ", ".join(list(found)[:3]) + (" and others" if len(found) > 3 else "")
        raise ValueError(f"The model is quantized ({modes}: {names}). {advice}")


def _layers(model):
    """Returns all layers of a model, including nested ones.

    Keras has no public function for this. The private one is mentioned in the
    documentation of `keras.dtype_policies.DTypePolicyMap`.
    """
    flatten = getattr(model, "_flatten_layers", None)
    if flatten is None:
        raise RuntimeError(
            f"Keras {keras.__version__} has no `_flatten_layers`, which stzoo needs to "
            "find layers with LoRA or quantization. Nothing was written. Install a "
            "version of Keras that stzoo supports."
        )
    return flatten(include_self=False)
