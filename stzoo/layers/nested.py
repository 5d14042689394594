"""Dense layers inside of an operator.

Keras quantizes them, and gives them LoRA, one by one. What it has made of them stands
in the config of the operator: without it, Keras could not load what it has saved.
"""

import keras


def nested(operator, layer):
    """The layer, or the one that the config of the operator has under its name.

    Args:
        operator: the layer around it; its `dense` is a dict from names to configs.
        layer: `keras.layers.Dense`, not built.
    """
    config = operator.dense.get(layer.name)
    return keras.layers.Dense.from_config(config) if config else layer


def configs(operator, *names):
    """The configs of the layers that Keras has quantized or given LoRA, by name.

    Args:
        operator: the layer around them. It may not be built.
        names: of the attributes that hold these layers, and of the layers.
    """
    layers = [getattr(operator, name, None) for name in names]
    changed = {
        layer.name: layer.get_config()
        for layer in layers
        if layer is not None and (layer.quantization_mode or layer.lora_rank)
    }
    return operator.dense | changed
