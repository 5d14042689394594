"""What Keras makes of the layers of a built model: LoRA and quantization.

Hu et al.: LoRA, ICLR 2022. https://arxiv.org/abs/2106.09685
"""

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
            a, b = (
                values.pop(factor.path).astype("float32")
                for factor in (layer.lora_kernel_a, layer.lora_kernel_b)
            )
            path = layer._kernel.path
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
    # As Keras' documentation of `DTypePolicyMap` goes through the layers of a layer.
    return model._flatten_layers(include_self=False)
