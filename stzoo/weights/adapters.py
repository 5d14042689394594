"""What Keras makes of the layers of a built model: LoRA and quantization.

Hu et al.: LoRA, ICLR 2022. https://arxiv.org/abs/2106.09685
"""

import keras
from keras import ops


def merged(model):
    """The values of the variables of a model, LoRA merged into the kernels.

    Args:
        model: `keras.Model`.

    Returns:
        Dict from the path of each variable to an array. Those of LoRA are left out:
        the kernels hold what they add, so a model without LoRA answers alike.
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
    """All layers of a model, also those inside of layers.

    Keras has no public way to ask a layer for those inside. This one is private, but
    stands in the documentation of `keras.dtype_policies.DTypePolicyMap`.
    """
    flatten = getattr(model, "_flatten_layers", None)
    if flatten is None:
        raise RuntimeError(
            f"Keras {keras.__version__} has no `_flatten_layers`, by which stzoo finds "
            "layers that have LoRA or are quantized. Nothing was written. Install a "
            "version of Keras that stzoo supports."
        )
    return flatten(include_self=False)
