"""The network for one frame of a TSM with the online shift.

With the shift of `shift="online"`, a frame needs some channels of the frame before it,
and nothing else. A network for one frame takes them as inputs and returns those that
the next frame needs, as in the demo of the authors (see `stzoo.inference.online`).
*Ours*: other networks than MobileNetV2.
"""

import keras
from keras import ops, tree

from stzoo.deploy.fusion import fuse
from stzoo.layers import TemporalShift
from stzoo.layers.network import Network
from stzoo.layers.plan import calls_of
from stzoo.weights.checkpoint import assign


def frame_network(model):
    """Builds the network for one frame.

    Args:
        model: a model with the online shift. It is not changed.

    Returns:
        `keras.Model`. Inputs are the frame, RGB from 0 to 255, `(batch, 1, height,
        width, 3)`, and the states. Outputs are the logits `(batch, classes)`, and the
        new states in the same order.
    """
    fused = fuse(model)
    shape = fused.input_shape
    frame = keras.Input((1, *shape[2:]), dtype="float32", name="frame")
    known = {id(fused.input): frame}
    states, kept = [], []

    def follow(x):
        return known[id(x)] if isinstance(x, keras.KerasTensor) else x

    for layer, args, kwargs in calls_of(fused):
        args, kwargs = tree.map_structure(follow, (args, kwargs))
        new = type(layer).from_config(layer.get_config())
        if isinstance(layer, TemporalShift):
            part = new.last_part(*args)
            kwargs = {"previous": _state(part, layer.name)}
            states.append(kwargs["previous"])
            kept.append(part)
        known[id(layer.output)] = new(*args, **kwargs)
    network = Network(
        [frame, *states], [known[id(fused.output)], *kept], name=f"{model.name}_frame"
    )
    assign(network, {w.path: ops.convert_to_numpy(w.value) for w in fused.weights})
    return network


def _state(part, name):
    """Returns an input for the channels that a shift takes from the frame before."""
    return keras.Input(part.shape[1:], dtype=part.dtype, name=f"{name}_previous")
