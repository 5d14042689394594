"""Settings of a training that only transformers have: VideoMAE and V-JEPA 2.

Layer-wise learning rates and the rates of drop path are those of the code of VideoMAE,
which has them from BEiT (Bao et al., ICLR 2022). The embedding of tubelets is layer 0,
blocks are the layers from 1 on, and everything after them is the last layer.
"""

import re

from stzoo.layers.ends import HEAD

EMBEDDING = "patch_embed"
PROBE = "pooler"  # first word of the layers of an attentive probe


def depth(model):
    """Returns the number of blocks of a transformer, or 0 for another model."""
    return sum(bool(re.fullmatch(r"layer_\d+_add1", x.name)) for x in model.layers)


def number(name):
    """Returns the number of the block of a layer, from 1, or `None`.

    The embedding of tubelets belongs to the first block.
    """
    block = re.match(r"layer_(\d+)_", name)
    if block:
        return int(block[1]) + 1
    return 1 if name == EMBEDDING else None


def rates(model, decay):
    """Returns the multipliers of the learning rates of layers.

    The last layer has a multiplier of 1, and each layer before it `decay` times that of
    the next one.

    Args:
        model: a model of the zoo.
        decay: float.

    Returns:
        Dict from a regular expression of paths to a float, see
        `stzoo.training.sgd.SGD`.

    Raises:
        ValueError: the model is not a transformer, or there is none.
    """
    if model is None:
        raise ValueError(
            "layer_decay needs the model: recipe.optimizer(steps_per_epoch, model)."
        )
    blocks = _blocks(model, "layer_decay")
    found = {f"^{EMBEDDING}/": decay ** (blocks + 1)}
    return found | {f"^layer_{n}_": decay ** (blocks - n) for n in range(blocks)}


def set_drop_path(model, rate):
    """Sets the rates of drop path, from 0 in the first block to `rate` in the last.

    Args:
        model: a model of the zoo.
        rate: float, at least 0 and below 1.

    Raises:
        ValueError: the rate is not 0, and the model is not a transformer.
    """
    blocks = _blocks(model, "drop_path") if rate else depth(model)
    for layer in model.layers:
        found = re.fullmatch(r"layer_(\d+)_add[12]_drop_path", layer.name)
        if found:
            layer.rate = rate * int(found[1]) / max(blocks - 1, 1)


def freeze_encoder(model):
    """Freezes all layers before the attentive probe of V-JEPA 2.

    Args:
        model: a model of the zoo.

    Raises:
        ValueError: the model has no attentive probe.
    """
    first_words = [layer.name.split("_")[0] for layer in model.layers]
    if PROBE not in first_words:
        raise ValueError(
            f'freeze="encoder" is for V-JEPA 2. {model.name} has no attentive probe: '
            'choose freeze="backbone".'
        )
    for layer, word in zip(model.layers, first_words, strict=True):
        layer.trainable = word in (PROBE, HEAD)


def _blocks(model, setting):
    """Returns the number of blocks, or raises a `ValueError` if there are none."""
    if not (blocks := depth(model)):
        raise ValueError(
            f"{setting} is for transformers, VideoMAE and V-JEPA 2. {model.name} has "
            f"no blocks of a transformer: remove {setting}."
        )
    return blocks
