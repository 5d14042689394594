"""HiResCAM for clips, in space and time.

Draelos and Carin: Use HiResCAM instead of Grad-CAM for faithful explanations of
convolutional neural networks. arXiv:2011.08891. Before the average of a network, it is
Grad-CAM. In earlier layers, gradients are not averaged over time and space.
"""

import keras
import numpy as np
from keras import ops

from stzoo.backend import gradient
from stzoo.deploy.runtime import Exported

FINE = 7  # places of a map in height and width, as ResNet has for 224 pixels
_WARM = np.array((213, 94, 0), "float32")  # vermilion, visible to the colour-blind


def saliency(model, clips, layer=None, classes=None):
    """Computes where a clip shows evidence for a class (HiResCAM).

    Args:
        model: a model of the zoo.
        clips: array `(batch, frames, height, width, channels)`, from 0 to 255.
        layer: string, name of a layer with maps that every path of the network passes,
            such as the end of a residual unit (`"layer3_1_relu"`). Defaults to the last
            one with at least 7x7 places, since coarser maps do not show places. Without
            such a layer, the last one before the average.
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
    found = np.maximum((gradients * maps).sum(-1), 0)
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
    if layer is None and "avgpool" in names:
        return _cut_by_default(model)
    if layer is None:
        raise ValueError(
            f"{model.name} has two streams, and no maps that both of them pass. Build "
            "it with one stream, or use its `attention`, in "
            "stzoo.explain.attention."
        )
    if layer not in names:
        raise ValueError(
            f"{model.name} has no layer {layer!r}. The last ones are: "
            f"{', '.join(names[-8:])}."
        )
    output = model.get_layer(layer).output
    if len(getattr(output, "shape", ())) != 5:
        raise ValueError(
            f"{layer} has no maps over time and space. Received: a layer whose output "
            f"has the shape {getattr(output, 'shape', None)}."
        )
    try:
        return _halves(model, output)
    except ValueError:
        raise ValueError(
            f"A part of {model.name} bypasses {layer}, so the model cannot be split "
            "there. Choose the end of a block, such as the ReLU after a sum."
        ) from None


def _cut_by_default(model):
    """Splits a model at the last maps that are fine enough, see `saliency`."""
    last = model.get_layer("avgpool").input
    ends = [layer.output for layer in reversed(model.layers)]
    for output in (last, *ends):
        shape = getattr(output, "shape", ())
        if len(shape) == 5 and min(size or FINE for size in shape[2:4]) >= FINE:
            try:
                return _halves(model, output)
            except ValueError:  # a part of the network bypasses it
                continue
    return _halves(model, last)


def _halves(model, output):
    return keras.Model(model.input, output), keras.Model(output, model.output)


def _stretch(array, size, axis):
    """Interpolates linearly along an axis, with pixel centres at half integers."""
    length = array.shape[axis]
    at = ((np.arange(size) + 0.5) * length / size - 0.5).clip(0, length - 1)
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, length - 1)
    part = (at - before).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    below, above = array.take(before, axis), array.take(after, axis)
    return (below + part * (above - below)).astype("float32")
