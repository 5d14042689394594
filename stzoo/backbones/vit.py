"""A plain video transformer: tubelets, then blocks of attention and a small network.

Dosovitskiy et al.: An Image is Worth 16x16 Words. ICLR 2021.
https://arxiv.org/abs/2010.11929

Blocks normalise before each part (pre-norm). Dense layers start from a normal
distribution of deviation 0.02.
"""

import keras

from stzoo.layers.attention import DotProductAttention
from stzoo.layers.dropout import Dropout
from stzoo.layers.initializers import RandomNormal
from stzoo.layers.norm import LayerNorm


def dense(units, name, activation=None, use_bias=True):
    """A dense layer of a transformer."""
    return keras.layers.Dense(
        units,
        activation,
        use_bias,
        kernel_initializer=RandomNormal(stddev=0.02),
        name=name,
    )


def normed(x, name, epsilon, **kwargs):
    """Normalises each token."""
    return LayerNorm(epsilon=epsilon, name=name, **kwargs)(x)


def block(x, name, heads, hidden, epsilon, grid=None, key_bias=True):
    """Self-attention and a network of two layers, each with a shortcut.

    Args:
        x: tensor `(batch, tokens, channels)`.
        name: string, prefix of the names of layers.
        heads: int.
        hidden: int, units between the two layers.
        epsilon: float, of the normalisation.
        grid: tuple of ints for rotary positions, see `DotProductAttention`, or `None`.
        key_bias: bool, whether keys have a bias.

    Returns:
        Tensor of the same shape.
    """
    width = x.shape[-1]
    y = normed(x, f"{name}_norm1", epsilon)
    parts = [
        dense(width, f"{name}_{part}", use_bias=key_bias or part != "key")(y)
        for part in ("query", "key", "value")
    ]
    y = DotProductAttention(heads, grid, name=f"{name}_attention")(parts)
    y = dense(width, f"{name}_proj")(y)
    x = add(x, y, f"{name}_add1")
    return mlp(x, name, hidden, epsilon)


def mlp(x, name, hidden, epsilon):
    """The network of two layers of a block, with its shortcut."""
    y = normed(x, f"{name}_norm2", epsilon)
    y = dense(hidden, f"{name}_fc1", "gelu")(y)
    y = dense(x.shape[-1], f"{name}_fc2")(y)
    return add(x, y, f"{name}_add2")


def add(x, y, name):
    """Adds the output of a branch, which training can drop (drop path).

    Huang et al.: Deep Networks with Stochastic Depth. ECCV 2016. The rate is 0 until a
    recipe sets it.
    """
    y = Dropout(noise_shape=(None, 1, 1), name=f"{name}_drop_path")(y)
    return keras.layers.Add(name=name)([x, y])
