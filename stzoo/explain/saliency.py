"""Grad-CAM for clips, in space and time.

Selvaraju et al.: Grad-CAM, Visual Explanations from Deep Networks via Gradient-based
Localization. ICCV 2017, Equations 1 and 2. The averages are also over time.
"""

import keras
import numpy as np
from keras import ops

from stzoo.backend import gradient
from stzoo.deploy.runtime import Exported

_WARM = np.array((213, 94, 0), "float32")  # vermilion, visible to the colour-blind


def saliency(model, clips, layer=None, classes=None):
    """Computes where a clip shows evidence for a class (Grad-CAM).

    Args:
        model: a model of the zoo.
        clips: array `(batch, frames, height, width, channels)`, from 0 to 255.
        layer: string, name of a layer with maps that every path of the network passes,
            such as the end of a residual unit (`"layer3_1_relu"`). Defaults to the last
            one before the average, which is the coarsest, or to the end of the encoder
            of a transformer.
        classes: ints `(batch,)`, the logits to explain. Defaults to the largest ones.

    Returns:
        float32 array `(batch, frames, height, width)`: maps of the layer, resized to
        the clip and scaled so that the maximum of each clip is 1. A clip without
        evidence for the class is all 0.

    Raises:
        ValueError: there is no such layer, it has no maps, or a part of the network
            bypasses it. Or the model is exported, or the logits are not finite.
    """
    activations, tail = _cut(model, layer)
    maps = activations.predict_on_batch(clips)
    logits = ops.convert_to_numpy(tail.predict_on_batch(maps))
    if not np.isfinite(logits).all():
        raise ValueError(
            f"The logits of {model.name} contain NaN or infinity, so there is no "
            "saliency. Check its weights."
        )
    classes = logits.argmax(-1) if classes is None else np.asarray(classes)
    maps = ops.convert_to_numpy(ops.cast(maps, "float32"))
    chosen = np.eye(logits.shape[-1], dtype="float32")[classes]
    chosen = ops.convert_to_tensor(chosen)  # PyTorch multiplies no arrays
    gradients = gradient(lambda x: ops.sum(tail(x, training=False) * chosen), maps)
    weights = gradients.mean((1, 2, 3), keepdims=True)  # Equation 1
    found = np.maximum((weights * maps).sum(-1), 0)  # Equation 2
    for axis, size in enumerate(np.shape(clips)[1:4], start=1):
        found = _stretch(found, size, axis)
    largest = found.max((1, 2, 3), keepdims=True)
    return found / np.where(largest > 0, largest, 1)


def overlay(frames, maps):
    """Colours the salient parts of frames, and turns the rest grey.

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
    """Splits a model in two: from clips to maps, and from maps to logits."""
    if isinstance(model, Exported):
        raise ValueError(
            f"{model.folder} is an exported model, which has no gradients. "
            "Saliency needs them. Use the model that it was made from."
        )
    names = [known.name for known in model.layers]
    if layer is None and "maps" in names:  # of a transformer
        layer = "maps"
    if layer is None and "avgpool" not in names:
        raise ValueError(
            f"{model.name} has two streams, and no maps that both of them pass. Build "
            "it with one stream, or use its `attention`, in "
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
            f"A part of {model.name} bypasses {layer}, so the model cannot be split "
            "there. Choose the end of a block, such as the ReLU after a sum."
        ) from None


def _stretch(array, size, axis):
    """Interpolates linearly along an axis, with pixel centres at half integers."""
    length = array.shape[axis]
    at = ((np.arange(size) + 0.5) * length / size - 0.5).clip(0, length - 1)
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, length - 1)
    part = (at - before).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    below, above = array.take(before, axis), array.take(after, axis)
    return (below + part * (above - below)).astype("float32")
