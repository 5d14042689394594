"""The kind of model that every builder returns."""

from collections import Counter

import keras
from keras import tree


@keras.saving.register_keras_serializable("stzoo")
class Network(keras.Model):
    """A functional `keras.Model` that lets go of tensors once nobody needs them.

    Keras keeps what every layer has returned until the last one is done. On PyTorch,
    where they run one by one, the system then has to find new memory for each: that
    was a fifth of the time of CoST on ResNet-50 for one clip on a CPU core.

    Args:
        inputs, outputs, name: as of `keras.Model`.
    """

    def _run_through_graph(self, inputs, operation_fn=lambda op: op, call_fn=None):
        if call_fn is not None or not _one_by_one():
            return super()._run_through_graph(inputs, operation_fn, call_fn)
        known = dict(zip(map(id, self.inputs), tree.flatten(inputs), strict=True))
        nodes = [
            node
            for depth in sorted(self._nodes_by_depth, reverse=True)
            for node in self._nodes_by_depth[depth]
            if not node.is_input
        ]
        uses = Counter(id(x) for node in nodes for x in node.input_tensors)
        uses.update(map(id, self.outputs))
        del inputs
        for node in nodes:
            args, kwargs = node.arguments.fill_in(known)
            for x in map(id, node.input_tensors):
                uses[x] -= 1
                if not uses[x]:
                    del known[x]
            returned = operation_fn(node.operation)(*args, **kwargs)
            del args, kwargs
            returned = tree.flatten(returned)
            known.update(zip(map(id, node.outputs), returned, strict=True))
            del returned
        outputs = [known[id(x)] for x in self.outputs]
        return tree.pack_sequence_as(self._outputs_struct, outputs)


def _one_by_one():
    """Whether layers run as they are called, not as parts of a compiled graph."""
    if keras.backend.backend() != "torch":
        return False
    import torch

    return not torch.compiler.is_compiling()
