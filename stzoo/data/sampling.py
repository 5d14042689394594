"""Samples the frames of clips: pure functions of the number of frames."""

import re

import numpy as np


def dense(total, frames, stride, clips=1, rng=None, snippet=1):
    """Samples clips of frames that are `stride` apart (CoST, Section 4.2).

    A clip spans `frames * stride` frames of the video. The possible starts are split
    into `clips` equal parts, with one clip in each part. Without `rng`, a clip starts
    in the middle of its part, as in the test of CoST in MMAction2 0.24. With `rng`, the
    start is random. If the video is shorter than the span, clips start at frame 0 and
    continue with frame 0 after the last frame.

    With `snippet`, the starts of snippets of consecutive frames are `stride` apart
    (STPN).

    Args:
        total: int, number of frames of the video.
        frames: int, number of frames in a clip.
        stride: int, distance between two frames of a clip, in frames of the video.
        clips: int, number of clips.
        rng: `np.random.Generator` for training, or `None` for evaluation.
        snippet: int, number of consecutive frames. `frames` must be a multiple of it.

    Returns:
        Int array `(clips, frames)` of indices below `total`.

    Raises:
        ValueError: one of the numbers is below 1.
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
    """Samples one frame from each of `frames` equal segments of the video (TSN).

    Without `rng`, the first clip has the middle of each segment, and each further clip
    is shifted by `1 / clips` of a segment, modulo the segment. With `clips=2`, these
    are the middles and the beginnings, the "twice sample" of TSM and GSM. With `rng`,
    each frame is random in its segment. If the video has fewer frames than segments,
    some frames are repeated, in order.

    With `snippet`, consecutive frames are sampled from each of `frames / snippet`
    segments. A snippet does not extend beyond the video. In a video shorter than a
    snippet, the last frame is repeated.

    Args:
        total: int, number of frames of the video.
        frames: int, number of frames in a clip, which is the number of segments.
        clips: int, number of clips.
        rng: `np.random.Generator` for training, or `None` for evaluation.
        snippet: int, number of consecutive frames. `frames` must be a multiple of it.

    Returns:
        Int array `(clips, frames)` of indices below `total`.

    Raises:
        ValueError: one of the numbers is below 1.
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
    """Parses the views of an evaluation, clips x crops.

    Args:
        views: string, such as `"10x3"` for ten clips with three crops each.

    Returns:
        Tuple of two ints, `(clips, crops)`.

    Raises:
        ValueError: `views` has another form.
    """
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", str(views))
    if not match:
        raise ValueError(
            'views must be clips x crops, two integers of at least 1, such as "10x3". '
            f"Received: {views!r}."
        )
    return int(match[1]), int(match[2])


def _check_counts(**counts):
    for name, count in counts.items():
        if count < 1:
            raise ValueError(
                f"{name} must be an integer, at least 1. Received: {count!r}."
            )
