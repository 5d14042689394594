"""The deploy form of a model: the same function in fewer layers.

A batch norm in inference is a scale and an offset for each channel, so it can be folded
into the convolution before it (Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877,
Section 3.2). Adding a residual and a ReLU cost less inside the same layer. The
coefficients of CoST (a) are weights, so it is one 3D convolution.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import ops, tree

from stzoo.layers import CSTM, BatchNorm, ClipConv, CoST
from stzoo.layers.cost import ComposedCoST, compose
from stzoo.weights.adapters import check_floats, merged
from stzoo.weights.checkpoint import assign


def fuse(model):
    """Makes the deploy form of a model: the same answers, faster.

    Batch norms are folded into the convolutions before them, which also add the
    residual and apply the ReLU. CoST (a) becomes one 3D convolution, dropout is left
    out, and LoRA is merged. A batch norm stays where something that depends on the
    clip stands between it and a convolution: the coefficients of CoST (b), CSTM and
    the gate of GSM. The batch norm of the gate, which stands before a ReLU, stays too.

    Args:
        model: a model of the zoo; it is left as it is.

    Returns:
        `keras.Model` with its own weights. `stzoo.save`, `stzoo.load` and
        `stzoo.predict` work with it. It is meant for inference, not for training. A
        model that is already fused is returned unchanged.

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
    """The graph of the deploy form, with the weights folded into it.

    Args:
        model: `keras.Model` of the layers of stzoo.
    """
    plan = _plan(model)
    fused = keras.models.clone_model(
        model,
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
    """Which layers are folded into which; all by name.

    Attributes:
        norms: dict from a convolution to `(layer, batch norm)`.
        active: set of convolutions that end in a ReLU.
        sums: dict from an `Add` to `(place, convolution)`: the convolution that adds
            the other term itself, and which of the two terms it makes.
        dropped: set of layers that are left out.
    """

    norms: dict = field(default_factory=dict)
    active: set = field(default_factory=set)
    sums: dict = field(default_factory=dict)
    dropped: set = field(default_factory=set)

    @property
    def adding(self):
        """The convolutions that add a residual."""
        return {name for _, name in self.sums.values()}


def _plan(model):
    uses = Counter(
        id(tensor) for layer in model.layers for tensor in tree.flatten(layer.input)
    )
    plan = _Plan()
    made_by = {}  # id of a tensor that only one layer takes: the convolution before it

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
            case keras.layers.ReLU() if before:
                plan.active.add(before.name)
                plan.dropped.add(layer.name)
            case keras.layers.Dropout():
                plan.dropped.add(layer.name)
    return plan


def _fused_layer(layer, plan):
    """The layer of the deploy form, not built."""
    config = layer.get_config()
    config.pop("lora_rank", None)
    config.pop("lora_alpha", None)
    if "dense" in config:
        config["dense"] = {}
    match layer:
        case CoST(variant="a"):
            return _as_convolution(layer, layer.name in plan.active)
        case CSTM():
            config["fused"] = True
        case ClipConv():
            config["use_bias"] |= layer.name in plan.norms
            if layer.name in plan.active:
                config["activation"] = "relu"
    return type(layer).from_config(config)


class _Caller:
    """Calls the layers of the deploy form in the order of the model."""

    def __init__(self, plan):
        self.plan = plan
        self.waiting = {}  # convolutions, until both terms of their sum are there

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
