"""The kind of model that every builder returns."""

import keras
from keras import tree


@keras.saving.register_keras_serializable("stzoo")
class Network(keras.Model):
    """A functional `keras.Model` with less around its layers on PyTorch.

    There, layers run one by one. Keras keeps what each has returned until the last is
    done, so that the system has to find new memory for all of it: that was a fifth of
    the time of CoST on ResNet-50 for one clip on a CPU core. And to call a layer takes
    it 0.2 ms, longer than most of the 692 layers of P3D-199 need for a clip. So this
    model lets go of tensors once nobody needs them, of gradients before the next step,
    and has layers compute at once where nothing else is asked of them.

    Args:
        inputs, outputs, name: as of `keras.Model`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nodes = [
            node
            for depth in sorted(self._nodes_by_depth, reverse=True)
            for node in self._nodes_by_depth[depth]
            if not node.is_input
        ]
        last = {id(x): i for i, node in enumerate(nodes) for x in node.input_tensors}
        for x in self.outputs:
            last.pop(id(x), None)
        done = [[] for _ in nodes]
        for x, at in last.items():
            done[at].append(x)
        self._steps = tuple(zip(nodes, map(tuple, done), strict=True))

    def call(self, inputs, training=None, mask=None):
        if keras.backend.backend() != "torch":
            return super().call(inputs, training=training, mask=mask)
        inputs = self._standardize_inputs(inputs)
        known = dict(zip(map(id, self.inputs), inputs, strict=True))
        del inputs
        for node, done in self._steps:
            layer = node.operation
            run = layer
            if _computes_only(layer, [known[id(x)] for x in node.input_tensors]):
                run = layer.call
            args, kwargs = node.arguments.fill_in(known)
            if getattr(layer, "_call_has_training_arg", False):
                kwargs["training"] = training
            for x in done:
                del known[x]
            outputs = tree.flatten(run(*args, **kwargs))
            del args, kwargs
            known.update(zip(map(id, node.outputs), outputs, strict=True))
            del outputs
        outputs = [known[id(x)] for x in self.outputs]
        if len(outputs) == 1 and not isinstance(self._outputs_struct, dict):
            return outputs[0]
        return tree.pack_sequence_as(self._outputs_struct, outputs)

    def train_step(self, *args, **kwargs):
        if keras.backend.backend() == "torch":
            # Keras drops the gradients of the last step after the forward pass only.
            self.zero_grad()
        return super().train_step(*args, **kwargs)


def _computes_only(layer, inputs):
    """Whether a call of a layer would do nothing but compute: no change of type, no
    hook, no loss, no mask.
    """
    import torch

    return (
        isinstance(layer, keras.Layer)
        and all(x.dtype is torch.float32 for x in inputs)
        and layer.compute_dtype == layer.variable_dtype == "float32"
        and layer.activity_regularizer is None
        and layer.quantization_mode is None
        and not layer._remat_mode
        and not (layer._forward_hooks or layer._forward_pre_hooks)
        and not (layer._backward_hooks or layer._backward_pre_hooks)
    )
