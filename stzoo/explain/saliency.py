"""What in a clip speaks for a class, in space and time.

Selvaraju et al.: Grad-CAM, Visual Explanations from Deep Networks via Gradient-based
Localization. ICCV 2017, Equations 1 and 2, with the averages over time as well.
"""

import keras
import numpy as np
from keras import ops

from stzoo.backend import gradient

_WARM = np.array((213, 94, 0), "float32")  # vermilion, which the colour-blind see


def saliency(model, clips, layer=None, classes=None):
    """Where a clip shows what speaks for a class (Grad-CAM).

    Args:
        model: a model of the zoo.
        clips: array `(batch, frames, height, width, channels)`, of 0 to 255.
        layer: string, name of a layer with maps through which all of the network
            passes, such as the end of a residual unit (`"layer3_1_relu"`). The
            default is the last one before the average, which is the coarsest.
        classes: ints `(batch,)`, the logits to explain; the largest by default.

    Returns:
        float32 array `(batch, frames, height, width)`: maps of the layer, stretched
        to the clip, from 0 to 1, the largest of each clip; 0 throughout where nothing
        speaks for the class.

    Raises:
        ValueError: there is no such layer, it has no maps, or a part of the network
            goes past it; the logits are not numbers.
    """
    activations, tail = _cut(model, layer)
    maps = activations.predict_on_batch(clips)
    logits = ops.convert_to_numpy(tail.predict_on_batch(maps))
    if not np.isfinite(logits).all():
        raise ValueError(
            f"The logits of {model.name} hold NaN or infinity, so nothing speaks for a "
            "class. Check its weights."
        )
    classes = logits.argmax(-1) if classes is None else np.asarray(classes)
    maps = ops.convert_to_numpy(ops.cast(maps, "float32"))
    chosen = np.eye(logits.shape[-1], dtype="float32")[classes]
    gradients = gradient(lambda x: ops.sum(tail(x, training=False) * chosen), maps)
    weights = gradients.mean((1, 2, 3), keepdims=True)  # Equation 1
    found = np.maximum((weights * maps).sum(-1), 0)  # Equation 2
    for axis, size in enumerate(np.shape(clips)[1:4], start=1):
        found = _stretch(found, size, axis)
    largest = found.max((1, 2, 3), keepdims=True)
    return found / np.where(largest > 0, largest, 1)


def overlay(frames, maps):
    """Frames in grey, and what is salient in them in colour.

    Args:
        frames: uint8 array `(..., height, width, 3)`, RGB.
        maps: array `(..., height, width)`, from 0 to 1.

    Returns:
        uint8 array of the shape of `frames`.
    """
    grey = frames.mean(-1, keepdims=True)
    share = 0.7 * np.asarray(maps, "float32")[..., None]
    return np.rint(grey + share * (_WARM - grey)).astype("uint8")


def _cut(model, layer):
    """The model in two: from clips to maps, and from maps to logits."""
    names = [known.name for known in model.layers]
    if layer is None and "avgpool" not in names:
        raise ValueError(
            f"{model.name} has two streams, and no maps through which both pass. Build "
            "it with one of them, or see where its `attention` looks, in "
            "stzoo.explain.attention."
        )
    if layer is None:
        output = model.get_layer("avgpool").input
    elif layer in names:
        output = model.get_layer(layer).output
    else:
        raise ValueError(
            f"{model.name} has no layer {layer!r}. The last ones are: "
            f"{', '.join(names[-8:])}."
        )
    if len(getattr(output, "shape", ())) != 5:
        raise ValueError(
            f"{layer} has no maps over time and space. Received: a layer whose output "
            f"has the shape {getattr(output, 'shape', None)}."
        )
    try:
        return keras.Model(model.input, output), keras.Model(output, model.output)
    except ValueError:
        raise ValueError(
            f"A part of {model.name} goes past {layer}, so that it cannot be cut "
            "there. Take the end of a block, such as the ReLU after a sum."
        ) from None


def _stretch(array, size, axis):
    """Linear interpolation along an axis, as of pixels with edges."""
    length = array.shape[axis]
    at = ((np.arange(size) + 0.5) * length / size - 0.5).clip(0, length - 1)
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, length - 1)
    part = (at - before).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    below, above = array.take(before, axis), array.take(after, axis)
    return (below + part * (above - below)).astype("float32")
