"""Fourier transforms as matrices, for runtimes that lack them."""

import numpy as np


def forward(dim):
    """The matrices `(dim, dim // 2 + 1)` to the real and the imaginary part."""
    angles = _angles(np.arange(dim), np.arange(dim // 2 + 1), dim)
    return np.cos(angles).astype("float32"), -np.sin(angles).astype("float32")


def inverse(dim):
    """The matrices `(dim // 2 + 1, dim)` from the real and the imaginary part."""
    rows = np.arange(dim // 2 + 1)
    # Each frequency but the first, and the middle one, stands for two.
    weights = np.where((rows == 0) | (2 * rows == dim), 1, 2)[:, None] / dim
    angles = _angles(rows, np.arange(dim), dim)
    return (
        (weights * np.cos(angles)).astype("float32"),
        (-weights * np.sin(angles)).astype("float32"),
    )


def _angles(rows, columns, dim):
    return 2 * np.pi / dim * (np.outer(rows, columns) % dim)
