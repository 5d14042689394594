"""Dense layers inside an operator.

Keras quantizes each of them, or enables LoRA on it, separately. The config of the
operator stores the changed configs, so that Keras can load the layer it has saved.
"""

import keras


def nested(operator, layer):
    """Returns the layer, or its replacement from the config of the operator.

    Args:
        operator: the outer layer. Its `dense` is a dict from names to configs.
        layer: `keras.layers.Dense`, not built.
    """
    config = operator.dense.get(layer.name)
    return keras.layers.Dense.from_config(config) if config else layer


def configs(operator, *names):
    """Returns the configs of the layers that are quantized or have LoRA, by name.

    Args:
        operator: the outer layer, built or not.
        *names: strings, names of the layers and of the attributes that hold them.
    """
    layers = [getattr(operator, name, None) for name in names]
    changed = {
        layer.name: layer.get_config()
        for layer in layers
        if layer is not None and (layer.quantization_mode or layer.lora_rank)
    }
    return operator.dense | changed
