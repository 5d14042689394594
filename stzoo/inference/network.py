"""What inference asks of a model, of Keras or exported.

* `stzoo`: `stzoo.weights.config.ModelConfig`, how videos are prepared for it.
* `name`: string.
* `predict_on_batch(clips)`: from a uint8 array `(clips, frames, height, width,
  channels)` of 0 to 255 to an array of the output.

Beyond that, it is one of Keras or a `stzoo.deploy.runtime.Exported`. What differs
between them is here, and Keras is imported for its own models only.
"""

import hashlib
from importlib.metadata import version

import numpy as np

from stzoo.deploy.runtime import Exported


def with_output(model, layer):
    """Returns the network from clips to the output of a layer, and its channels.

    Args:
        model: a model of the zoo.
        layer: string.

    Raises:
        ValueError: there is no such layer.
    """
    if isinstance(model, Exported):
        return model.with_output(layer)
    from stzoo.layers.network import Network

    names = [known.name for known in model.layers]
    if layer not in names:
        raise ValueError(
            f"{model.name} has no layer {layer!r}. Its last layers are "
            f"{', '.join(names[-8:])}."
        )
    network = Network(model.input, model.get_layer(layer).output)
    return network, network.output.shape[-1]


def fingerprint(model):
    """Returns a hash of the weights of a model."""
    found = hashlib.sha256()
    if isinstance(model, Exported):
        found.update(repr(sorted(model.stzoo.export["files"].items())).encode())
    else:
        from keras import ops

        for weight in model.weights:
            found.update(np.ascontiguousarray(ops.convert_to_numpy(weight)))
    return found.hexdigest()


def runs_on(model):
    """Returns what computes a model, and a dict of the versions of the packages."""
    name, package = "", "keras"
    if isinstance(model, Exported):
        name = package = model.package
    else:
        from keras import backend

        name = backend.backend()
    return name, {one: version(one) for one in ("stzoo", package, "numpy")}
