"""The deploy form of a model: fewer layers that answer alike.

A batch norm that stands still is a scale and an offset for each channel, and so is part
of the convolution before it (Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877,
Section 3.2); a residual that is added and a ReLU after it cost less in the same layer.
The coefficients of CoST (a) are weights, so it is one 3D convolution.
"""

import dataclasses
from collections import Counter

import keras
import numpy as np
from keras import ops, tree

from stzoo.layers import CSTM, BatchNorm, ClipConv, CoST
from stzoo.layers.cost import ComposedCoST, compose
from stzoo.weights.adapters import check_floats, merged
from stzoo.weights.checkpoint import assign


def fuse(model):
    """Makes the deploy form of a model, which answers alike, sooner.

    Batch norms are folded into the convolutions before them, which add the residual and
    do the ReLU after them as well, CoST (a) becomes the convolution that it is, dropout
    is left out, and LoRA is merged. A batch norm stays where something that depends on
    the clip stands between it and a convolution: the coefficients of CoST (b), CSTM,
    the gate of GSM; and the gate keeps its own, which stands before a ReLU.

    Args:
        model: a model of the zoo; it is left as it is.

    Returns:
        `keras.Model` with weights of its own. `stzoo.save`, `stzoo.load` and
        `stzoo.predict` take it like any other; to train it makes little sense. A
        model that is fused already is returned as it is.

    Raises:
        ValueError: the model is not of the zoo, or is quantized.

    Example:

    >>> model = stzoo.fuse(stzoo.cost_tiny(pretrained="motions"))
    >>> stzoo.predict(model, "ball.mp4", top=1)
    [('rising', 0.9...)]
    """
    config = getattr(model, "stzoo", None)
    if config is None:
        raise ValueError(
            "Only a model that a builder of stzoo has made, or `stzoo.load`, can be "
            f"fused: others may join layers differently. Received: {model!r}."
        )
    if config.fused:
        return model
    check_floats(model, "Fuse it first, then quantize what `stzoo.fuse` returns.")
    fused = fold(model)
    fused.stzoo = dataclasses.replace(config, fused=True)
    return fused


def fold(model):
    """The graph of the deploy form, with what the weights of the model become.

    Args:
        model: `keras.Model` of the layers of stzoo.
    """
    uses = Counter(
        id(tensor) for layer in model.layers for tensor in tree.flatten(layer.input)
    )
    made_by = {}  # id of a tensor that only one layer takes: the convolution before it
    norms, active, dropped = {}, set(), set()  # names of layers; of `norms` the keys
    sums, adding = {}, set()  # from a sum to the term that adds; convolutions that do

    def result(layer, tensor):
        if uses[id(tensor)] == 1:
            made_by[id(tensor)] = layer

    for layer in model.layers:
        before = made_by.get(id(layer.input))
        match layer:
            case CSTM():
                norms[layer.name] = (layer.conv, layer.bn)
            case ClipConv() | CoST(variant="a"):
                result(layer, layer.output)
            case BatchNorm() if before and before.name not in adding:
                norms[before.name] = (before, layer)
                dropped.add(layer.name)
                result(before, layer.output)
            case keras.layers.Add(input=[one, other]) if one.shape == other.shape:
                terms = [made_by.get(id(term)) for term in (one, other)]
                free = [term for term in terms if term and term.name not in adding]
                if free:
                    last = free[-1]
                    sums[layer.name] = terms.index(last), last.name
                    adding.add(last.name)
                    result(last, layer.output)
            case keras.layers.ReLU() if before:
                active.add(before.name)
                dropped.add(layer.name)
            case keras.layers.Dropout():
                dropped.add(layer.name)

    def copy(layer):
        config = layer.get_config()
        config.pop("lora_rank", None)
        config.pop("lora_alpha", None)
        if "dense" in config:
            config["dense"] = {}
        match layer:
            case CoST(variant="a"):
                return _as_convolution(layer, layer.name in active)
            case CSTM():
                config["fused"] = True
            case ClipConv():
                config["use_bias"] |= layer.name in norms
                if layer.name in active:
                    config["activation"] = "relu"
        return type(layer).from_config(config)

    waiting = {}  # convolutions until both terms of their sum are there

    def call(layer, x, **kwargs):
        if layer.name in dropped:
            return x
        if layer.name in adding:
            waiting[layer.name] = layer
            return x
        if layer.name in sums:
            place, name = sums[layer.name]
            return waiting[name](x[place], residual=x[1 - place])
        return layer(x, **kwargs)

    fused = keras.models.clone_model(model, clone_function=copy, call_function=call)
    tensors = merged(model)
    for convolution, norm in norms.values():
        path = convolution.kernel.path
        kernel, bias = _folded(convolution, norm)
        tensors |= {path: kernel, path.removesuffix("kernel") + "bias": bias}
    assign(fused, tensors)
    return fused


def _as_convolution(layer, active):
    """The convolution that a CoST (a) is, not built."""
    return ComposedCoST(
        layer.filters,
        (layer.kernel_size,) * 3,
        layer.strides,
        use_bias=True,
        activation="relu" if active else None,
        dtype=layer.dtype_policy,
        name=layer.name,
    )


def _folded(convolution, norm):
    """Kernel and bias that do what a convolution and its batch norm do."""
    kernel = ops.convert_to_tensor(convolution.kernel)
    if isinstance(convolution, CoST):
        kernel = compose([kernel * view for view in convolution.coefficients()])
    bias = convolution.bias if getattr(convolution, "use_bias", False) else 0
    kernel, bias, gamma, beta, mean, variance = (
        ops.convert_to_numpy(tensor).astype("float64")
        for tensor in (
            *(kernel, bias, norm.gamma, norm.beta),
            *(norm.moving_mean, norm.moving_variance),
        )
    )
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return kernel * scale, (bias - mean) * scale + beta
