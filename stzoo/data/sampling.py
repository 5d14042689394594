"""Which frames of a video make up a clip: pure functions of the number of frames."""

import re

import numpy as np


def dense(total, frames, stride, clips=1, rng=None, snippet=1):
    """Clips of neighbouring frames, `stride` apart (CoST, Section 4.2).

    A clip spans `frames * stride` frames of the video. Without `rng`, the possible
    starts are cut into `clips` equal parts and each clip starts in the middle of its
    part, as MMAction2 0.24 tested CoST. With `rng`, it starts anywhere in its part.
    In a video shorter than the span, clips start at frame 0 and go round again.

    With `snippet`, it is snippets of so many neighbouring frames whose starts are
    `stride` apart (STPN).

    Args:
        total: int, number of frames of the video.
        frames: int, number of frames in a clip.
        stride: int, distance between two frames of a clip, in frames of the video.
        clips: int, number of clips.
        rng: `np.random.Generator` for training, or `None` for evaluation.
        snippet: int, by which `frames` is divisible.

    Returns:
        Int array `(clips, frames)` of indices below `total`.

    Raises:
        ValueError: if one of the numbers is below 1.
    """
    _check_counts(total=total, frames=frames, stride=stride, clips=clips)
    count = frames // snippet
    span = max(count * stride, (count - 1) * stride + snippet)
    starts = max(total - span + 1, 1)
    within = 0.5 if rng is None else rng.random(clips)
    first = ((np.arange(clips) + within) * starts / clips).astype(int)
    offsets = (np.arange(count)[:, None] * stride + np.arange(snippet)).ravel()
    return (first[:, None] + offsets) % total


def segments(total, frames, clips=1, rng=None, snippet=1):
    """One frame from each of `frames` equal segments of the whole video (TSN).

    Without `rng`, the first clip takes the middle of each segment, and further clips
    are moved by `1 / clips` of a segment, inside of it: with `clips=2`, the middles
    and the beginnings, which is the sampling "twice" of TSM and GSM. With `rng`,
    every frame is drawn from anywhere in its segment. A video with fewer frames than
    segments shows some of its frames more than once, in order.

    With `snippet`, it is so many neighbouring frames from each of `frames / snippet`
    segments; their starts are drawn as frames are, of those that leave room. Beyond
    its end, a shorter video shows its last frame.

    Args:
        total: int, number of frames of the video.
        frames: int, number of segments, which is the number of frames in a clip.
        clips: int, number of clips.
        rng: `np.random.Generator` for training, or `None` for evaluation.
        snippet: int, by which `frames` is divisible.

    Returns:
        Int array `(clips, frames)` of indices below `total`.

    Raises:
        ValueError: if one of the numbers is below 1.
    """
    _check_counts(total=total, frames=frames, clips=clips)
    count, room = frames // snippet, max(total - snippet + 1, 1)
    if rng is None:
        within = (0.5 + np.arange(clips)[:, None] / clips) % 1
    else:
        within = rng.random((clips, count))
    starts = ((np.arange(count) + within) * room / count).astype(int)
    indices = starts[..., None] + np.arange(snippet)
    return np.minimum(indices, total - 1).reshape(clips, frames)


def parse_views(views):
    """The views of an evaluation, written as clips x crops.

    Args:
        views: string such as `"10x3"`: ten clips of a video, three crops of each.

    Returns:
        Tuple of two ints, `(clips, crops)`.

    Raises:
        ValueError: if `views` is anything else.
    """
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", str(views))
    if not match:
        raise ValueError(
            'views must be two whole numbers from 1, clips x crops, such as "10x3". '
            f"Received: {views!r}."
        )
    return int(match[1]), int(match[2])


def _check_counts(**counts):
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be a whole number from 1, got {count!r}.")
