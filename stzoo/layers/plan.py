"""The ordered calls of the layers of a functional model.

A model that runs its plan can free tensors early, bypass what Keras does around a call,
run a part of itself, or compute a part twice.
"""

import inspect
import logging
from typing import Any, NamedTuple

import keras
from keras import ops, tree

logger = logging.getLogger("stzoo")
# A plan relies on how `keras.Layer.__call__` and the call of a functional model treat
# their arguments. This was checked for these versions. Under any other version, Keras
# runs the layers.
READ_VERSIONS = ("3.12", "3.13", "3.14", "3.15")
# Attributes of Keras and PyTorch for what a layer does besides its `call`. There is no
# public API for them. A layer that lacks one of them is called by Keras.
EXTRAS = (
    "_remat_mode",
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


class Step(NamedTuple):
    """One call of a layer.

    Args:
        layer: `keras.Layer`.
        args, kwargs: arguments of the call, with a `keras.KerasTensor` for each tensor.
        alone: bool, whether the only argument is one tensor.
        inputs: tuple of the ids of the input tensors.
        outputs: tuple of the ids of the output tensors.
        last: tuple of the ids of the inputs that no later step needs.
        trains: bool, whether `call` takes `training`.
        short: the dtype policy under which `keras.Layer.__call__` can be bypassed, or
            `None`.
    """

    layer: keras.Layer
    args: tuple
    kwargs: dict
    alone: bool
    inputs: tuple
    outputs: tuple
    last: tuple
    trains: bool
    short: Any


class Plan:
    """The ordered calls of a graph with one input and one output."""

    def __init__(self, steps, start, end):
        self.steps, self.start, self.end = tuple(steps), start, end

    def run(self, inputs, training, short):
        """Calls the layers in order.

        Args:
            inputs: list of one tensor. The plan empties it, to free the tensor.
            training, short: see `compute`.
        """
        known = {id(self.start): inputs.pop()}
        compute(self.steps, known, training, short)
        return known[id(self.end)]


def standardize(inputs, start):
    """Returns the input of a model as a tensor, or `None` if Keras must handle it.

    Args:
        inputs: what the model is called with.
        start: `keras.KerasTensor`, the input of its graph.
    """
    if isinstance(inputs, list | tuple | dict):
        return None
    x = ops.convert_to_tensor(inputs, start.dtype)
    return x if len(x.shape) == len(start.shape) else None


def compute(steps, known, training, short):
    """Calls layers in order.

    Args:
        steps: sequence of `Step`.
        known: dict from ids to tensors. Outputs are added, and tensors are removed
            after their last use.
        training: bool or `None`.
        short: bool, whether `keras.Layer.__call__` can be bypassed.
    """
    for step in steps:
        layer, kwargs = step.layer, step.kwargs
        if step.alone:
            args = (known[step.inputs[0]],)
        else:
            fill = _filler(known)
            args, kwargs = tree.map_structure(fill, (step.args, kwargs))
        if step.trains and training is not None:
            kwargs = {**kwargs, "training": training}
        run = layer
        if short and _computes_only(step, known):
            run = layer.call
        for name in step.last:
            del known[name]
        outputs = run(*args, **kwargs)
        del args, kwargs
        if isinstance(outputs, list | tuple | dict):  # possibly of one tensor
            known.update(zip(step.outputs, tree.flatten(outputs), strict=True))
        else:
            known[step.outputs[0]] = outputs
        del outputs


def _filler(known):
    return lambda x: known[id(x)] if isinstance(x, keras.KerasTensor) else x


def make_plan(model):
    """Makes the plan of a functional model.

    Args:
        model: `keras.Model`.

    Returns:
        `Plan`, or `None` for any other graph, which Keras runs itself.
    """
    if ".".join(keras.__version__.split(".")[:2]) not in READ_VERSIONS:
        return None
    try:
        calls = calls_of(model)
        if all(_is_plain(*call) for call in calls):
            return _plan(calls, model.input, model.output)
    except Exception as error:  # another version of Keras can raise any error
        logger.info("%s: Keras runs the layers because of %r.", model.name, error)
    return None


def calls_of(model):
    """Returns the calls of the layers of a functional model, in order.

    Args:
        model: `keras.Model`. It is not changed.

    Returns:
        List of tuples `(layer, args, kwargs)`, with a `keras.KerasTensor` of the model
        for each tensor.
    """
    calls = []

    def note(layer, *args, **kwargs):
        calls.append((layer, args, kwargs))
        return layer.output

    # This calls `note` for each layer instead of the layer.
    keras.models.clone_model(
        keras.Model(model.input, model.output, name=model.name),
        input_tensors=model.input,
        clone_function=lambda layer: layer,
        call_function=note,
    )
    return calls


def _plan(calls, start, end):
    """Returns the plan of these calls, or `None`."""
    layers, known = [layer for layer, _, _ in calls], {id(start)}
    if len(set(map(id, layers))) < len(layers) or not (
        isinstance(start, keras.KerasTensor) and isinstance(end, keras.KerasTensor)
    ):
        return None
    steps, needed = [], {id(end)}
    for layer, args, kwargs in calls:
        tensors = tree.flatten((args, kwargs))
        inputs = tuple(id(x) for x in tensors if isinstance(x, keras.KerasTensor))
        outputs = tuple(map(id, tree.flatten(layer.output)))
        if not known.issuperset(inputs):
            return None
        known.update(outputs)
        alone = not kwargs and len(args) == 1 and isinstance(args[0], keras.KerasTensor)
        trains = "training" in inspect.signature(layer.call).parameters
        short = _policy_of_short_calls(layer, trains)
        called = (layer, args, kwargs, alone, inputs, outputs)
        steps.append(Step(*called, last=(), trains=trains, short=short))
    for i in reversed(range(len(steps))):
        last = tuple(set(steps[i].inputs) - needed)
        steps[i] = steps[i]._replace(last=last)
        needed.update(last)
    return Plan(steps, start, end) if id(end) in known else None


def _is_plain(layer, args, kwargs):
    """Returns whether a plan can make this call of a layer."""
    return (
        isinstance(layer, keras.Layer)
        and not isinstance(layer, keras.Model)
        and "mask" not in kwargs
        and layer.compute_mask(layer.input, None) is None
    )


def _policy_of_short_calls(layer, trains):
    """Returns the policy under which `keras.Layer.__call__` only calls, or `None`."""
    policy = layer.dtype_policy
    if keras.backend.backend() != "torch":
        return None
    # A composite layer without `training` in its `call` relies on `__call__` to pass it
    # on to the layers inside.
    composite = any(isinstance(child, keras.Layer) for child in layer.children())
    if type(policy) is keras.DTypePolicy and (trains or not composite):
        return policy if policy.name == "float32" else None
    return None


def may_be_short(model):
    """Returns whether no global setting changes what the layers of a model do."""
    from torch.nn.modules import module

    any_global_hook = getattr(module, "_has_any_global_hook", None)
    return (
        model.compute_dtype == model.variable_dtype == "float32"
        and keras.distribution.distribution() is None
        and any_global_hook is not None
        and not any_global_hook()
    )


def _computes_only(step, known):
    """Returns whether `keras.Layer.__call__` would only call the layer."""
    import torch

    layer = step.layer
    if layer.dtype_policy is not step.short or layer.activity_regularizer is not None:
        return False
    for name in step.inputs:
        if known[name].dtype is not torch.float32:
            return False
    for name in EXTRAS:
        if getattr(layer, name, True):
            return False
    return True
