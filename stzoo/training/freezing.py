"""Which layers of a model are trained.

Each choice of a recipe also freezes what the one before it freezes: `"none"`,
`"norms"`, a number of stages, `"backbone"`. `"encoder"` is for V-JEPA 2.
"""

import math

import keras

from stzoo.layers.ends import HEAD
from stzoo.training import transformers

FREEZE = ("none", "norms", "backbone", "encoder")


def freeze(model, what):
    """Freezes layers of a model.

    Args:
        model: a model of the zoo.
        what: string or int, see `freeze` of `stzoo.training.recipes.Recipe`.

    Raises:
        ValueError: the model has no such part.
    """
    if what == "encoder":
        transformers.freeze_encoder(model)
    elif what == "backbone":
        for layer in model.layers:
            layer.trainable = layer.name == HEAD
    elif what != "none":
        for norm in filter(_has_statistics, batch_norms(model)):
            norm.trainable = False
        if what != "norms":
            freeze_stages(model, what)


def freeze_stages(model, count):
    """Freezes the first stages of a model.

    The maps of the first stage of a convolutional network are half as high as the clip,
    those of the second a quarter, and so on, rounded to a power of two. The stages of a
    transformer are its blocks. The embedding of tubelets belongs to the first one.

    Args:
        model: a model of the zoo.
        count: int, number of stages.

    Raises:
        ValueError: the model has fewer stages.
    """
    stages = {layer.name: _stage(model, layer) for layer in model.layers}
    most = max(filter(None, stages.values()))
    if count > most:
        raise ValueError(
            f"{model.name} has {most} stages. Received: freeze={count}. To freeze all "
            'but the head, choose freeze="backbone".'
        )
    for layer in model.layers:
        stage = stages[layer.name]
        if stage is not None and stage <= count:
            layer.trainable = False


def batch_norms(model):
    """Returns the batch norms of a model in order, including those in operators."""
    layers = []
    for layer in model.layers:
        # GateShift contains a batch norm. CSTM contains one, and possibly a GateShift.
        shift = getattr(layer, "shifted", None)
        layers += [layer, getattr(layer, "bn", None), getattr(shift, "bn", None)]
    return [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]


def _has_statistics(norm):
    """Returns whether the statistics of a batch norm are not its initial ones."""
    mean, variance = map(
        keras.ops.convert_to_numpy, (norm.moving_mean, norm.moving_variance)
    )
    return bool((mean != 0).any() or (variance != 1).any())


def _stage(model, layer):
    """Returns the stage of a layer, from 1, or `None` if it is in no stage."""
    if transformers.depth(model):
        return transformers.number(layer.name)
    shape = layer.output.shape
    if len(shape) != 5:
        return None
    return round(math.log2(model.input_shape[2] / shape[2]))
