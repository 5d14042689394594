"""Fuses the layers of a model for inference.

In inference, a batch norm is a scale and an offset for each channel, so it can be
folded into the convolution before it (Jacob et al., CVPR 2018,
https://arxiv.org/abs/1712.05877, Section 3.2). A residual and a ReLU are faster inside
the same layer. The coefficients of CoST (a) are weights, so it becomes one 3D
convolution.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import ops, tree

from stzoo.layers import CSTM, BatchNorm, ClipConv, CoST
from stzoo.layers.cost import ComposedCoST, compose
from stzoo.layers.network import Network
from stzoo.weights.adapters import check_floats, merged
from stzoo.weights.checkpoint import assign

RELU = {None: "relu", 6: "relu6"}  # the activation by the limit of the layer


def fuse(model):
    """Fuses a model: the same outputs from fewer layers, faster.

    Batch norms are folded into the convolutions before them, which also add the
    residual and apply the ReLU. CoST (a) becomes one 3D convolution, dropout is
    removed, and LoRA is merged. A batch norm is not folded if an operation between it
    and the convolution depends on the clip: the coefficients of CoST (b), CSTM and
    the gate of GSM. The batch norm inside the gate is not folded either.

    Args:
        model: a model of the zoo. It is not changed.

    Returns:
        A new `keras.Model` with its own weights. `stzoo.save`, `stzoo.load` and
        `stzoo.predict` work with it. It is meant for inference, not for training. A
        model that is already fused is returned unchanged.

    Raises:
        ValueError: the model is not from stzoo, or is quantized.

    Example:

    >>> model = stzoo.fuse(stzoo.cost_tiny(pretrained="motions"))
    >>> stzoo.predict(model, "ball.mp4", top=1)
    [('rising', 0.9...)]
    """
    config = getattr(model, "stzoo", None)
    if config is None or config.export:
        raise ValueError(
            "Only a model from a builder of stzoo or from `stzoo.load` can be fused, "
            "since others may connect layers differently, and an exported one is "
            f"fused already. Received: {model!r}."
        )
    if config.fused:
        return model
    check_floats(model, "Fuse it first, then quantize what `stzoo.fuse` returns.")
    fused = fold(model)
    fused.stzoo = dataclasses.replace(config, fused=True)
    return fused


def fold(model):
    """Builds the fused graph with its folded weights.

    Args:
        model: `keras.Model` with layers of stzoo.
    """
    plan = _plan(model)
    fused = keras.models.clone_model(
        Network(model.input, model.output, name=model.name),  # is not compiled
        clone_function=lambda layer: _fused_layer(layer, plan),
        call_function=_Caller(plan),
    )
    tensors = merged(model)
    for convolution, norm in plan.norms.values():
        path = convolution.kernel.path
        kernel, bias = _folded(convolution, norm)
        tensors |= {path: kernel, path.removesuffix("kernel") + "bias": bias}
    assign(fused, tensors)
    return fused


@dataclass
class _Plan:
    """Which layers are folded into which. All keys are names of layers.

    Attributes:
        norms: dict from a convolution to `(layer, batch norm)`.
        active: dict from a convolution to the activation that it also applies.
        sums: dict from an `Add` to `(place, convolution)`: the convolution that also
            adds the residual, and the index of its output in the inputs of the `Add`.
        dropped: set of layers that are removed.
    """

    norms: dict = field(default_factory=dict)
    active: dict = field(default_factory=dict)
    sums: dict = field(default_factory=dict)
    dropped: set = field(default_factory=set)

    @property
    def adding(self):
        """Set of the convolutions that also add a residual."""
        return {name for _, name in self.sums.values()}


def _plan(model):
    uses = Counter(
        id(tensor) for layer in model.layers for tensor in tree.flatten(layer.input)
    )
    plan = _Plan()
    made_by = {}  # from the id of a tensor with one consumer to the convolution before

    def makes(convolution, tensor):
        if uses[id(tensor)] == 1:
            made_by[id(tensor)] = convolution

    for layer in model.layers:
        before = made_by.get(id(layer.input))
        match layer:
            case CSTM():
                plan.norms[layer.name] = (layer.conv, layer.bn)
            case ClipConv() | CoST(variant="a"):
                makes(layer, layer.output)
            case BatchNorm() if before and before.name not in plan.adding:
                plan.norms[before.name] = (before, layer)
                plan.dropped.add(layer.name)
                makes(before, layer.output)
            case keras.layers.Add(input=[one, other]) if one.shape == other.shape:
                terms = [made_by.get(id(term)) for term in (one, other)]
                free = [term for term in terms if term and term.name not in plan.adding]
                if free:
                    plan.sums[layer.name] = terms.index(free[-1]), free[-1].name
                    makes(free[-1], layer.output)
            case keras.layers.ReLU(max_value=limit) if before and limit in RELU:
                plan.active[before.name] = RELU[limit]
                plan.dropped.add(layer.name)
            case keras.layers.Dropout():
                plan.dropped.add(layer.name)
    return plan


def _fused_layer(layer, plan):
    """Returns the fused layer, not built."""
    config = layer.get_config()
    config.pop("lora_rank", None)
    config.pop("lora_alpha", None)
    if "dense" in config:
        config["dense"] = {}
    match layer:
        case CoST(variant="a"):
            return _as_convolution(layer, plan.active.get(layer.name))
        case CSTM():
            config["fused"] = True
        case ClipConv():
            config["use_bias"] |= layer.name in plan.norms
            if layer.name in plan.active:
                config["activation"] = plan.active[layer.name]
    return type(layer).from_config(config)


class _Caller:
    """Calls the fused layers in the order of the model."""

    def __init__(self, plan):
        self.plan = plan
        self.waiting = {}  # convolutions that wait for their residual

    def __call__(self, layer, x, **kwargs):
        if layer.name in self.plan.dropped:
            return x
        if layer.name in self.plan.adding:
            self.waiting[layer.name] = layer
            return x
        if layer.name in self.plan.sums:
            place, name = self.plan.sums[layer.name]
            return self.waiting[name](x[place], residual=x[1 - place])
        return layer(x, **kwargs)


def _as_convolution(layer, activation):
    """Returns the convolution that is equivalent to a CoST (a), not built."""
    return ComposedCoST(
        layer.filters,
        (layer.kernel_size,) * 3,
        layer.strides,
        use_bias=True,
        activation=activation,
        dtype=layer.dtype_policy,
        name=layer.name,
    )


def _folded(convolution, norm):
    """Returns the kernel and bias equivalent to a convolution and its batch norm."""
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
