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
    those of the second a quarter, and so on, rounded to a power of two. Layers before
    it belong to it. The stages of a transformer are its blocks. The embedding of
    tubelets belongs to the first one.

    Args:
        model: a model of the zoo.
        count: int, number of stages.

    Raises:
        ValueError: the model has fewer stages, or its clips have no fixed height.
    """
    if model.input_shape[2] is None:
        raise ValueError(
            "A number of stages needs clips of a fixed height. Received: "
            f"freeze={count}, input_shape={model.input_shape[1:]}."
        )
    stages = _stages(model)
    most = max(stages.values())
    if count > most:
        raise ValueError(
            f"{model.name} has {most} stages. Received: freeze={count}. To freeze all "
            'but the head, choose freeze="backbone".'
        )
    for layer, stage in stages.items():
        if stage <= count:
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


def _stages(model):
    """Returns the layers of a model that are in a stage, with its number.

    Layers with maps as high as the clip, such as the first ones of VGG, have a 0.
    """
    if transformers.depth(model):
        found = {layer: transformers.number(layer.name) for layer in model.layers}
    else:
        height = model.input_shape[2]
        # An operator with several outputs belongs to the stage of the first one.
        outputs = {one: keras.tree.flatten(one.output)[0] for one in model.layers}
        found = {
            layer: round(math.log2(height / output.shape[2]))
            for layer, output in outputs.items()
            if len(output.shape) == 5
        }
    return {layer: stage for layer, stage in found.items() if stage is not None}
