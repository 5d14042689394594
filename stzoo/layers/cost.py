"""Collaborative spatiotemporal convolution (CoST).

Li, Zhong, Xie, Pu: Collaborative Spatiotemporal Feature Learning for Video Action
Recognition. CVPR 2019, Section 3.3. https://arxiv.org/abs/1903.01197

A video is a volume with three views: height-width, time-width and time-height. One
2D kernel convolves all three views. Learned coefficients weight them, per channel:

    y = a_hw * x_hw + a_tw * x_tw + a_th * x_th,    a_hw + a_tw + a_th = 1

Details that the paper leaves open follow the authors' code (hikvision-research/cost):
no biases, the order of views (hw, tw, th), the initial values, and the orientation of
the shared kernel. In both temporal views its rows are time. Its columns are the width
in one and the height in the other.
"""

import math

import keras
from keras import ops

from stzoo.backend import (
    has_dilated_conv3d,
    has_fast_conv3d,
    lay_out,
    max_over_clip,
    pad,
    weighted_sum,
)
from stzoo.layers.conv import ClipConv, clip_shape, spatial
from stzoo.layers.initializers import HeNormal, RandomNormal
from stzoo.layers.lowering import convolve, convolve_without_corners
from stzoo.layers.nested import configs, nested

VIEWS = ("hw", "tw", "th")
# The position at which each view inserts an axis of size 1 into the shared kernel,
# whose axes are (rows, columns, in, out).
_FLAT_AXIS = {"hw": 0, "tw": 1, "th": 2}


@keras.saving.register_keras_serializable("stzoo")
class CoST(keras.layers.Layer):
    """Convolves the three views of a clip with one shared 2D kernel.

    The layer has the weights of a 2D convolution and a few coefficients. Its receptive
    field is 3 x 3 x 3 without the corners.

    Args:
        filters: int, number of output channels.
        kernel_size: odd int, height and width of the shared kernel.
        strides: int, or tuple `(1, s, s)`, the spatial stride.
        variant: string. With `"a"`, the coefficients are weights, the same for all
            clips. With `"b"`, they are computed from each clip: the global maximum of
            each view, a dense layer over the channels that is shared by the views, and
            a dense layer over the views that is shared by the channels.
        dense: dict from names to configs of the inner Dense layers that are quantized
            or have LoRA enabled. `get_config` fills it in.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: `(batch, frames, height / s, width / s, filters)`, rounded up.

    Attributes:
        parts: names of the weighted terms, see `coefficients`.

    Example:

    >>> x = np.random.rand(2, 8, 14, 14, 64)
    >>> stzoo.layers.CoST(64)(x).shape
    (2, 8, 14, 14, 64)
    """

    parts = VIEWS

    def __init__(
        self, filters, kernel_size=3, strides=1, variant="b", dense=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = spatial(strides)
        self.variant = variant
        self.dense = dense or {}
        if not isinstance(kernel_size, int) or kernel_size % 2 == 0:
            raise ValueError(
                "kernel_size must be one odd number, since all views share the kernel. "
                f"Received: kernel_size={kernel_size}."
            )
        if len(self.strides) != 3 or self.strides[0] != 1:
            raise ValueError(
                "CoST strides in space only: strides must be s or (1, s, s). "
                f"Received: strides={strides}."
            )
        if variant not in ("a", "b"):
            raise ValueError(f'variant must be "a" or "b". Received: {variant!r}.')

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(self.kernel_size, self.kernel_size, input_shape[-1], self.filters),
            initializer=HeNormal(),
            name="kernel",
        )
        lay_out(self.kernel)
        if self.variant == "a":
            # The coefficients start at 0.67, 0.17, 0.17. Height-width is the view that
            # a pretrained image kernel comes from.
            self.alpha = self.add_weight(
                shape=(3, self.filters),
                initializer=_initial_alpha,
                autocast=False,
                name="alpha",
            )
        else:
            self.fc1 = self._map(self.filters, "fc1")
            self.fc2 = self._map(3, "fc2")
            self.fc1.build((None, 3, self.filters))
            self.fc2.build((None, self.filters, 3))

    def _map(self, units, name):
        layer = keras.layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=RandomNormal(stddev=0.01),  # about 1/3 for each view
            dtype=self.dtype_policy,
            name=name,
        )
        return nested(self, layer)

    def call(self, inputs):
        kernel = ops.convert_to_tensor(self.kernel)
        if self.variant == "b":
            views = [self._view(inputs, kernel, view) for view in VIEWS]
            weights = ops.cast(self._weigh(views), views[0].dtype)
            return weighted_sum(views, [weights[:, i] for i in range(3)])
        # A convolution is linear, so weighting its kernel weights its output.
        weights = ops.cast(self.coefficients(), kernel.dtype)
        kernels = [kernel * weights[i] for i in range(len(VIEWS))]
        if _composes(inputs, self.filters):
            return convolve(inputs, compose(kernels), self.strides)
        views = zip(kernels, VIEWS, strict=True)
        return sum(self._view(inputs, kernel, view) for kernel, view in views)

    def coefficients(self, inputs=None):
        """Computes the weight of each view: height-width, time-width, time-height.

        Args:
            inputs: the input of the layer. Only variant `"b"` needs it.

        Returns:
            float32 tensor `(3, filters)`, or `(batch, 3, filters)` for variant `"b"`.
            It sums to 1 over the views.
        """
        if self.variant == "a":
            return ops.softmax(self.alpha, axis=0)
        if inputs is None:
            raise ValueError(
                f'The coefficients of {self.name} depend on the clip (variant "b"). '
                "Pass clips."
            )
        kernel = ops.convert_to_tensor(self.kernel)
        return self._weigh([self._view(inputs, kernel, view) for view in VIEWS])

    def _weigh(self, views):
        seen = ops.stack([max_over_clip(view) for view in views], axis=1)
        seen = ops.transpose(self.fc1(seen), (0, 2, 1))
        scores = ops.transpose(self.fc2(seen), (0, 2, 1))
        return ops.softmax(ops.cast(scores, "float32"), axis=1)

    def _view(self, inputs, kernel, view):
        kernel = ops.expand_dims(kernel, _FLAT_AXIS[view])
        return convolve(inputs, kernel, self.strides)

    def compute_output_shape(self, input_shape):
        return clip_shape(input_shape, self.strides, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "variant": self.variant,
            "dense": configs(self, "fc1", "fc2"),
        }


@keras.saving.register_keras_serializable("stzoo")
class ComposedCoST(ClipConv):
    """The fused form of CoST (a), which `stzoo.fuse` creates: one 3D convolution.

    Arguments and shapes are those of `ClipConv`. The caller must assign a kernel that
    `compose` returns, with zeros in its corners.
    """

    def call(self, inputs, residual=None):
        plain = self.kernel_size == (3, 3, 3) and self.strides == (1, 1, 1)
        whole = _composes(inputs, self.filters) and not has_dilated_conv3d()
        if whole or not plain:
            return super().call(inputs, residual)
        kernel = ops.convert_to_tensor(self.kernel)
        epilogue = self._epilogue(inputs, residual)
        return convolve_without_corners(inputs, kernel, epilogue)


def compose(kernels):
    """Adds the kernels of the three views up to one 3D kernel.

    Args:
        kernels: three tensors `(size, size, channels, filters)`, in the order of
            `VIEWS`.

    Returns:
        Tensor `(size, size, size, channels, filters)`.
    """
    margin = kernels[0].shape[0] // 2
    composed = 0
    for kernel, view in zip(kernels, VIEWS, strict=True):
        padding = [(0, 0)] * 5
        padding[_FLAT_AXIS[view]] = (margin, margin)
        kernel = ops.expand_dims(kernel, _FLAT_AXIS[view])
        composed = composed + pad(kernel, padding)
    return composed


def _composes(inputs, filters):
    """Returns whether one composed kernel is faster than the sum of three views.

    With Conv3D it is faster if the clip has more positions than the layer has filters.
    Measured on two CPU cores with TensorFlow, in ms for three views / composed, forward
    and with gradients:
    8x56x56x64 24.7 / 23.0 and 81 / 74; 4x28x28x128 12.4 / 10.7 and 38 / 33;
    4x14x14x256 11.9 / 11.1 and 37 / 32; 4x7x7x512 14.2 / 14.9 and 46 / 78.
    Where convolutions are lowered to 2D (JAX and PyTorch on a CPU), three views are
    faster at every size: 42 / 60, 15 / 16, 15 / 17, 20 / 24 ms on JAX.
    """
    sizes = inputs.shape[1:4]
    return has_fast_conv3d(inputs) and (
        None not in sizes and math.prod(sizes) > filters
    )


def _initial_alpha(shape, dtype):
    """Returns +0.7 for height-width and -0.7 for the temporal views."""
    signs = ops.reshape(ops.array([0.7, -0.7, -0.7], dtype), (3, 1))
    return ops.tile(signs, (1, shape[1]))
