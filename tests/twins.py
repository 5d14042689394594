"""NumPy twins: slow, obvious, written from the equations."""

import itertools

import numpy as np


def convolution(x, kernel, strides):
    """The definition: a weighted sum over each neighbourhood, zeros beyond the edge."""
    sizes = kernel.shape[:3]
    padded = np.pad(x, [(0, 0), *((n // 2, n // 2) for n in sizes), (0, 0)])
    places = [range(0, n, s) for n, s in zip(x.shape[1:4], strides, strict=True)]
    y = np.zeros((len(x), *map(len, places), kernel.shape[-1]))
    for out in itertools.product(*(range(len(place)) for place in places)):
        t, h, w = (i * s for i, s in zip(out, strides, strict=True))
        near = padded[:, t : t + sizes[0], h : h + sizes[1], w : w + sizes[2]]
        y[:, *out] = np.tensordot(near, kernel, ((1, 2, 3, 4), (0, 1, 2, 3)))
    return y


def cost_views(x, kernel, stride):
    """CoST, Section 3.3: one kernel slides over three views of the volume.

    Returns:
        Array `(3, batch, frames, height, width, filters)`: height-width, time-width,
        time-height.
    """
    batch, frames, height, width, _ = x.shape
    size = len(kernel)
    half = size // 2
    padded = np.pad(x, [(0, 0), *[(half, half)] * 3, (0, 0)])
    rows, columns = -(-height // stride), -(-width // stride)
    hw, tw, th = np.zeros((3, batch, frames, rows, columns, kernel.shape[-1]))
    offsets = list(itertools.product(range(size), repeat=2))
    for t, h, w in itertools.product(range(frames), range(rows), range(columns)):
        at = np.array([t, h * stride, w * stride]) + half  # in the padded volume
        for row, column in offsets:
            i, j, weights = row - half, column - half, kernel[row, column]
            hw[:, t, h, w] += padded[:, at[0], at[1] + i, at[2] + j] @ weights
            tw[:, t, h, w] += padded[:, at[0] + i, at[1], at[2] + j] @ weights
            th[:, t, h, w] += padded[:, at[0] + i, at[1] + j, at[2]] @ weights
    return np.stack([hw, tw, th])


def cost_a(x, kernel, alpha, stride):
    """Coefficients are weights, a softmax over the views."""
    weights = softmax(alpha, 0)[:, None, None, None, None]
    return (weights * cost_views(x, kernel, stride)).sum(0)


def cost_b(x, kernel, shared, mixing, stride):
    """Coefficients come from the maximum of each view."""
    views = cost_views(x, kernel, stride)
    scores = np.einsum("vbc,cd,vu->ubd", views.max((2, 3, 4)), shared, mixing)
    return (softmax(scores, 0)[:, :, None, None, None] * views).sum(0)


def temporal_shift(x, divisor=8):
    """TSM, Figure 1: frame by frame, channel by channel."""
    frames, channels = x.shape[1], x.shape[-1]
    fold = channels // divisor
    y = np.zeros_like(x)
    for t in range(frames):
        for c in range(channels):
            source = t + 1 if c < fold else t - 1 if c < 2 * fold else t
            if 0 <= source < frames:
                y[:, t, ..., c] = x[:, source, ..., c]
    return y


def gate_shift(x, gamma, beta, mean, variance, kernel, bias):
    """GSM: gates by loops, what passes moves, what does not stays, a shuffle."""
    batch, frames, height, width, channels = x.shape
    half, quarter = channels // 2, channels // 4
    seen = np.maximum((x - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)
    seen = np.pad(seen, [(0, 0), (1, 1), (1, 1), (1, 1), (0, 0)])
    gates = np.zeros((batch, frames, height, width, 2))
    for t, h, w in np.ndindex(frames, height, width):
        near = seen[:, t : t + 3, h : h + 3, w : w + 3]
        for side in range(2):
            group = near[..., side * half : (side + 1) * half]
            total = np.einsum("bijkc,ijkc->b", group, kernel[..., side])
            gates[:, t, h, w, side] = np.tanh(total + bias[side])
    y = np.zeros_like(x)
    for c in range(channels):
        side = c // half
        passed = gates[..., side] * x[..., c]
        moved = x[..., c] - passed
        for t in range(frames):
            source = t + 1 if side == 0 else t - 1
            if 0 <= source < frames:
                moved[:, t] += passed[:, source]
        place = c % half  # 0, q, 1, q + 1, ... is the order of a half
        new = 2 * (place % quarter) + place // quarter
        y[..., side * half + new] = moved
    return y


def compact_bilinear(inputs, hashes, signs, dim):
    """STPN, Algorithm 1, with the circular convolution instead of its FFT."""
    answer = np.zeros((*inputs[0].shape[:-1], dim))
    answer[..., 0] = 1  # convolving with it changes nothing
    for x, hashed, sign in zip(inputs, hashes, signs, strict=True):
        sketch = np.zeros((*x.shape[:-1], dim))
        for j in range(x.shape[-1]):
            sketch[..., hashed[j]] += float(sign[j]) * x[..., j]
        before, answer = answer, np.zeros_like(answer)
        for k, j in np.ndindex(dim, dim):
            answer[..., k] += before[..., j] * sketch[..., (k - j) % dim]
    return answer


def max_pool(x, sizes, strides, padded=True):
    """The largest of each neighbourhood; half of an odd one lies beyond the edge."""
    margins = [((n - 1) // 2 if padded else 0,) * 2 for n in sizes]
    padded = np.pad(x, [(0, 0), *margins, (0, 0)], constant_values=-np.inf)
    places = [
        range(0, n + 2 * margin[0] - size + 1, stride)
        for n, margin, size, stride in zip(
            x.shape[1:4], margins, sizes, strides, strict=True
        )
    ]
    y = np.zeros((len(x), *map(len, places), x.shape[-1]))
    for out in itertools.product(*(range(len(place)) for place in places)):
        t, h, w = (i * s for i, s in zip(out, strides, strict=True))
        near = padded[:, t : t + sizes[0], h : h + sizes[1], w : w + sizes[2]]
        y[:, *out] = near.max((1, 2, 3))
    return y


def window_mean(x, window):
    """The mean over the means of all windows of a clip."""
    window = [min(n, size) for n, size in zip(x.shape[1:4], window, strict=True)]
    starts = [range(n - k + 1) for n, k in zip(x.shape[1:4], window, strict=True)]
    means = []
    for t, h, w in itertools.product(*starts):
        near = x[:, t : t + window[0], h : h + window[1], w : w + window[2]]
        means.append(near.mean((1, 2, 3)))
    return np.mean(means, axis=0)


def relation(x, layers, choose):
    """TRN: subsets of each scale, one after the other.

    Args:
        x: array `(batch, frames, features)`.
        layers: dict from the number of frames in a subset to a kernel and a bias.
        choose: function `(scale, subsets)` that returns pairs of a factor and a subset.
    """
    outputs = []
    for scale in sorted(layers, reverse=True):
        kernel, bias = layers[scale]
        total = np.zeros((len(x), len(bias)))
        subsets = list(itertools.combinations(range(x.shape[1]), scale))
        for factor, subset in choose(scale, subsets):
            features = np.concatenate([x[:, frame] for frame in subset], axis=-1)
            hidden = np.maximum(features, 0) @ kernel + bias
            total += factor * np.maximum(hidden, 0)
        outputs.append(total)
    return np.concatenate(outputs, axis=-1)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def temporal_depthwise(x, kernel):
    """STM, Section 3.1: each channel has its own kernel over three frames."""
    y = np.zeros(x.shape)
    for t, i in itertools.product(range(x.shape[1]), (-1, 0, 1)):
        if 0 <= t + i < x.shape[1]:
            y[:, t] += x[:, t + i] * kernel[i + 1].astype("float64")
    return y


def motion_difference(x, kernel):
    """STM, Section 3.2: a filtered next frame minus this frame, zero in the last."""
    y = np.zeros(x.shape)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)]).astype("float64")
    height, width = x.shape[2:4]
    for t in range(x.shape[1] - 1):
        y[:, t] = -x[:, t]
        for i, j in np.ndindex(3, 3):
            near = padded[:, t + 1, i : i + height, j : j + width]
            y[:, t] += near * kernel[i, j, 0]
    return y
