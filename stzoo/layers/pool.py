"""Max pooling over clips, with the margins of the originals."""

import keras


@keras.saving.register_keras_serializable("stzoo")
class MaxPool(keras.layers.MaxPooling3D):
    """Keras' `MaxPooling3D`, on PyTorch without its copies: 2.5 ms instead of 40.

    (Of 8x114x114x64 numbers, on two CPU cores.)
    """

    def call(self, inputs):
        if keras.backend.backend() != "torch":
            return super().call(inputs)
        from torch.nn import functional

        x = inputs.permute(0, 4, 1, 2, 3)
        x = functional.max_pool3d(x, self.pool_size, self.strides)
        return x.permute(0, 2, 3, 4, 1)


def max_pool(x, pool_size, strides, name, ceil=False):
    """Max pooling of what is not negative, half of the pool as zeros on both sides.

    Args:
        x: tensor `(batch, frames, height, width, channels)`, after a ReLU, so that
            zeros never win.
        pool_size: tuple of 3 ints. An even size is not padded.
        strides: tuple of 3 ints.
        ceil: bool, pool as Caffe does: no margins, and what is left over at the end
            of an axis is pooled as well.
    """
    margins = [((size - 1) // 2,) * 2 for size in pool_size]
    if ceil:
        margins = [
            (0, stride - 1 if n is None else (size - n) % stride)
            for n, size, stride in zip(x.shape[1:4], pool_size, strides, strict=True)
        ]
    if any(map(any, margins)):
        x = keras.layers.ZeroPadding3D(margins, name=f"{name}_pad")(x)
    return MaxPool(pool_size, strides, name=name)(x)
