"""Collaborative spatial-temporal module (CSTM).

Zheng, Zhang: a collaborative network of a 3D CNN and a 2D temporal shift for action
recognition. Intelligent Computer and Applications (智能计算机与应用) 2021(7), 43-49.

The full text of the paper was not available. Its abstract and tables *state*:

* The module combines a 3D convolution and "the temporal shift in the form of a 2D
  convolution", to learn spatial-temporal features jointly.
* Attention is embedded in it, since a shift alone "does not allow for adaptively
  reweighting spatial-temporal features".
* The tables compare it, on BN-Inception and Inception v3, with GSM, with a
  `3D_Shift_sum` (the sum of the two branches: attention gains 1.8 points on
  Something-Something V2) and with a `GSM+attention`.

The rest is *our reading*:

* The module has the position of GSM, between a convolution and its batch norm.
* Both branches see all channels. One is a 3D convolution that keeps the number of
  channels. It has a batch norm and no ReLU, since the batch norm and ReLU of the
  network follow. The other is the gated shift of GSM, or the plain shift of TSM with
  `shift="tsm"`. It has no convolution of its own, since the 2D network has one before
  and one after it.
* Attention selects between the branches for each channel, as in Selective Kernel
  Networks (Li, Wang, Hu, Yang, CVPR 2019): the mean of the sum over the clip, a hidden
  layer with ReLU, a score for each branch, a softmax over the branches. In
  `GSM+attention` attention adds nothing (61.23 and 61.23), so the gain must come from
  weighting the branches. The hidden layer has a bias instead of a batch norm, since it
  sees only one vector for each clip.
* The kernel is 3x3x3, and the reduction is to a quarter.
"""

import keras
from keras import ops

from stzoo.layers import initializers
from stzoo.layers.conv import ClipConv
from stzoo.layers.nested import configs, nested
from stzoo.layers.norm import BatchNorm
from stzoo.layers.shift import GateShift, TemporalShift


@keras.saving.register_keras_serializable("stzoo")
class CSTM(keras.layers.Layer):
    """A 3D convolution and a temporal shift, weighted by attention.

    Args:
        kernel_size: tuple of 3 odd ints, frames, height and width of the convolution.
        fusion: `"attention"`, or `"sum"` (the paper's `3D_Shift_sum`).
        shift: `"gate"` (GSM) or `"tsm"`.
        reduction: int. The hidden layer of the attention has `channels / reduction`
            units.
        fused: bool, whether the convolution has a bias instead of a batch norm
            (`stzoo.fuse`).
        dense: dict from names to configs of the inner Dense layers that are quantized
            or have LoRA enabled. `get_config` fills it in.

    Input shape: `(batch, frames, height, width, channels)`. For `shift="gate"`,
        channels must be divisible by 4.

    Output shape: same as the input.

    Attributes:
        parts: names of the weighted terms, see `coefficients`.

    Example:

    >>> x = np.random.rand(2, 8, 14, 14, 64)
    >>> stzoo.layers.CSTM()(x).shape
    (2, 8, 14, 14, 64)
    """

    def __init__(
        self,
        kernel_size=(3, 3, 3),
        fusion="attention",
        shift="gate",
        reduction=4,
        fused=False,
        dense=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kernel_size = tuple(kernel_size)
        self.fusion = fusion
        self.shift = shift
        self.reduction = reduction
        self.fused = fused
        self.dense = dense or {}
        self.parts = ("convolution", "shift") if fusion == "attention" else ()
        if fusion not in ("attention", "sum"):
            raise ValueError(
                f'fusion must be "attention" or "sum". Received: {fusion!r}.'
            )
        if shift not in ("gate", "tsm"):
            raise ValueError(f'shift must be "gate" or "tsm". Received: {shift!r}.')

    def build(self, input_shape):
        channels, policy = input_shape[-1], self.dtype_policy
        self.conv = ClipConv(
            channels, self.kernel_size, use_bias=self.fused, dtype=policy, name="conv"
        )
        self.bn = None if self.fused else BatchNorm(dtype=policy, name="bn")
        operator = GateShift if self.shift == "gate" else TemporalShift
        self.shifted = operator(dtype=policy, name="shift")
        for layer in filter(None, (self.conv, self.bn, self.shifted)):
            layer.build(input_shape)
        if self.fusion == "attention":
            hidden = max(1, channels // self.reduction)
            self.fc1 = nested(self, initializers.dense(hidden, "relu", name="fc1"))
            self.fc2 = nested(self, initializers.dense(2 * channels, name="fc2"))
            self.fc1.build((None, channels))
            self.fc2.build((None, hidden))

    def call(self, inputs, training=None):
        branches = self._branches(inputs, training)
        if self.fusion == "sum":
            return branches[0] + branches[1]
        weights = ops.cast(self._weigh(branches), branches[0].dtype)
        # One axis less than indexing after: LiteRT indexes five axes at most.
        first, second = (ops.expand_dims(weights[:, i], (1, 2, 3)) for i in range(2))
        return first * branches[0] + second * branches[1]

    def coefficients(self, inputs=None):
        """Computes the weight of each branch per channel: convolution, then shift.

        Args:
            inputs: the input of the layer.

        Returns:
            float32 tensor `(batch, 2, channels)`, which sums to 1 over the branches.
        """
        if inputs is None:
            raise ValueError(
                f"The coefficients of {self.name} depend on the clip. Pass clips."
            )
        return self._weigh(self._branches(inputs, training=False))

    def _branches(self, inputs, training):
        convolved = self.conv(inputs)
        if self.bn:
            convolved = self.bn(convolved, training=training)
        if self.shift == "gate":
            return convolved, self.shifted(inputs, training=training)
        return convolved, self.shifted(inputs)

    def _weigh(self, branches):
        both = ops.cast(branches[0] + branches[1], "float32")
        scores = self.fc2(self.fc1(ops.mean(both, axis=(1, 2, 3))))
        return ops.softmax(ops.reshape(scores, (-1, 2, both.shape[-1])), axis=1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "fusion": self.fusion,
            "shift": self.shift,
            "reduction": self.reduction,
            "fused": self.fused,
            "dense": configs(self, "fc1", "fc2"),
        }
