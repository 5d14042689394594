"""Collaborative spatiotemporal convolution (CoST).

Li, Zhong, Xie, Pu: Collaborative Spatiotemporal Feature Learning for Video Action
Recognition. CVPR 2019, Section 3.3. https://arxiv.org/abs/1903.01197

A video is a volume with three views: height-width, time-width and time-height. One
2D kernel convolves all three; learned coefficients weigh them, channel by channel:

    y = a_hw * x_hw + a_tw * x_tw + a_th * x_th,    a_hw + a_tw + a_th = 1

What the paper leaves open follows the authors' code (hikvision-research/cost): no
biases, the order of views (hw, tw, th), initial values, and how the shared kernel
turns: its rows become time in both temporal views, its columns width or height.
"""

import math

import keras
from keras import ops

from stzoo.backend import has_fast_conv3d, lay_out, pad
from stzoo.layers.conv import ClipConv, clip_shape, spatial
from stzoo.layers.initializers import HeNormal, RandomNormal
from stzoo.layers.lowering import convolve, convolve_without_corners
from stzoo.layers.nested import configs, nested

VIEWS = ("hw", "tw", "th")
# Where an axis of size 1 goes into the shared kernel (rows, columns, in, out).
_FLAT_AXIS = {"hw": 0, "tw": 1, "th": 2}


@keras.saving.register_keras_serializable("stzoo")
class CoST(keras.layers.Layer):
    """One 2D kernel convolves the three views of a clip.

    As many weights as a 2D convolution and a few coefficients; a receptive field of
    3 x 3 x 3 without its corners.

    Args:
        filters: int, the dimension of the output.
        kernel_size: odd int, height and width of the shared kernel.
        strides: int, or tuple `(1, s, s)`, spatial stride.
        variant: `"a"`, coefficients are weights, alike for all clips; `"b"`, they
            are computed from each clip: the global maximum of each view, a map over
            channels that the views share, a map over the views that the channels
            share.
        dense: dict, configs of the layers inside that Keras has quantized or given
            LoRA, by their names. `get_config` fills it in.

    Input shape: `(batch, frames, height, width, channels)`.

    Output shape: `(batch, frames, height / s, width / s, filters)`, rounded up.

    Attributes:
        parts: the names of what is weighed, see `coefficients`.

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
                "The kernel turns through three views, so its size is one odd number. "
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
            # Favours height-width, where an image kernel comes from: 0.67, 0.17, 0.17.
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
            kernel_initializer=RandomNormal(stddev=0.01),  # near 1/3 each
            dtype=self.dtype_policy,
            name=name,
        )
        return nested(self, layer)

    def call(self, inputs):
        kernel = ops.convert_to_tensor(self.kernel)
        if self.variant == "b":
            views = [self._view(inputs, kernel, view) for view in VIEWS]
            weights = ops.cast(self._weigh(views), views[0].dtype)
            weights = ops.expand_dims(weights, (2, 3, 4))
            return sum(weights[:, i] * view for i, view in enumerate(views))
        # A convolution is linear: weighing its kernel weighs its output.
        weights = ops.cast(self.coefficients(), kernel.dtype)
        kernels = [kernel * weights[i] for i in range(len(VIEWS))]
        if _composes(inputs, self.filters):
            return convolve(inputs, compose(kernels), self.strides)
        views = zip(kernels, VIEWS, strict=True)
        return sum(self._view(inputs, kernel, view) for kernel, view in views)

    def coefficients(self, inputs=None):
        """How much each view counts: height-width, time-width, time-height.

        Args:
            inputs: for variant `"b"`, what the layer is called with.

        Returns:
            Tensor `(3, filters)`, for variant `"b"` `(batch, 3, filters)`, float32,
            with a sum of 1 over the views.
        """
        if self.variant == "a":
            return ops.softmax(self.alpha, axis=0)
        if inputs is None:
            raise ValueError(
                f'The coefficients of {self.name} follow from each clip (variant "b"). '
                "Pass clips."
            )
        kernel = ops.convert_to_tensor(self.kernel)
        return self._weigh([self._view(inputs, kernel, view) for view in VIEWS])

    def _weigh(self, views):
        seen = ops.stack([ops.amax(view, axis=(1, 2, 3)) for view in views], axis=1)
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
    """What `stzoo.fuse` makes of CoST (a): a convolution whose kernel is composed.

    Arguments and shapes are those of `ClipConv`. The kernel is what `compose` makes;
    to have zeros in its corners is up to who assigns it.
    """

    def call(self, inputs, residual=None):
        plain = self.kernel_size == (3, 3, 3) and self.strides == (1, 1, 1)
        if _composes(inputs, self.filters) or not plain:
            return super().call(inputs, residual)
        kernel = ops.convert_to_tensor(self.kernel)
        epilogue = self._epilogue(inputs, residual)
        return convolve_without_corners(inputs, kernel, epilogue)


def compose(kernels):
    """The 3D kernel that convolves as the three views' kernels do, added up.

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
    """Whether one composed kernel is faster than three views added.

    With Conv3D it is while the clip is larger than the kernel is deep. Two CPU
    cores, TensorFlow, ms for three views / composed, forward and with gradients:
    8x56x56x64 24.7 / 23.0 and 81 / 74; 4x28x28x128 12.4 / 10.7 and 38 / 33;
    4x14x14x256 11.9 / 11.1 and 37 / 32; 4x7x7x512 14.2 / 14.9 and 46 / 78.
    Where views are lowered to 2D (JAX and torch on a CPU), three of them win at
    every size: on JAX 42 / 60, 15 / 16, 15 / 17, 20 / 24 ms.
    """
    sizes = inputs.shape[1:4]
    return has_fast_conv3d(inputs) and (
        None not in sizes and math.prod(sizes) > filters
    )


def _initial_alpha(shape, dtype):
    """+0.7 for height-width and -0.7 for the temporal views."""
    signs = ops.reshape(ops.array([0.7, -0.7, -0.7], dtype), (3, 1))
    return ops.tile(signs, (1, shape[1]))
