"""Computes what a frame alone determines once, for all windows that show the frame.

The first layers of many networks treat each frame by itself: all of TSN up to the mean,
the backbone of TRN, C2D up to its pool over time. Overlapping windows share the outputs
of these layers, the *features* of a frame. The other layers see each window, so answers
are those of single windows, up to rounding.

Features are shared where this saves at least `LEAST` of the work. Below that, as for
the stem of TSM, a window goes through the network as a whole. For C2D on ResNet-50 with
windows that overlap by half, 16 % would be saved, but to store the features and to
join them took longer than that.
"""

import itertools
import math
import weakref

import keras
import numpy as np

from stzoo.data.sampling import parse_views
from stzoo.inference.predict import activate
from stzoo.inference.views import clips_at_once, predict_views
from stzoo.layers import DepthwiseConv, FrameConv, Normalize
from stzoo.layers.concatenate import Concatenate
from stzoo.layers.conv import ClipConv
from stzoo.layers.dropout import Dropout
from stzoo.layers.network import Network
from stzoo.layers.norm import BatchNorm
from stzoo.layers.plan import Plan, make_plan, may_be_short
from stzoo.layers.pool import FrameAverage, MaxPool, SpatialMean

LEAST = 0.2  # of the multiply-adds of a window
MOST = 2**30  # bytes of features that are kept
WINDOWS = 10_000  # that overlap, at most
# Their outputs for a frame depend on this frame only. Other layers may look along time.
BY_FRAME = {FrameConv, DepthwiseConv, Normalize, FrameAverage, SpatialMean, Concatenate}
BY_FRAME |= {Dropout, keras.layers.ReLU, keras.layers.Dense, keras.layers.Add}
_halves = weakref.WeakKeyDictionary()  # from a model to its variables and `split`


class Half(keras.Model):
    """The network of some steps of a model, with the layers of the model.

    Args:
        plan: `stzoo.layers.plan.Plan`.
        model: `keras.Model`, which says how graphs are compiled.
    """

    def __init__(self, plan, model):
        super().__init__(autocast=False)
        self.plan = plan
        self.inner = [step.layer for step in plan.steps]  # Keras finds their variables
        self.run_eagerly, self.jit_compile = model.run_eagerly, model.jit_compile
        self.built = True

    def call(self, inputs):
        short = keras.backend.backend() == "torch" and may_be_short(self)
        return self.plan.run([inputs], training=False, short=short)


def split(model):
    """Splits a model after its last tensor that the frames determine one by one.

    Args:
        model: a model of the zoo. It is not changed.

    Returns:
        Tuple of two `Half`, from frames `(frames, 1, height, width, channels)` to
        features `(frames, 1, ...)`, and from features `(clips, frames, ...)` to logits;
        the share of the first half in the multiply-adds, from 0 to 1; and the bytes of
        the features of a frame. `None` if there is no such tensor.
    """
    plan = make_plan(model)
    cut = plan and _last_cut(plan)
    if not cut:
        return None
    step = plan.steps[cut - 1]
    size = math.prod(n or 1 for n in step.layer.output.shape[2:])
    work = [_work(step) for step in plan.steps]
    first = Plan(plan.steps[:cut], plan.start, step.layer.output)
    rest = Plan(plan.steps[cut:], step.layer.output, plan.end)
    share = sum(work[:cut]) / max(1, sum(work))
    return Half(first, model), Half(rest, model), share, 4 * size


def _last_cut(plan):
    """Returns the number of steps before the cut, or 0."""
    cut, by_frame, needed = 0, {id(plan.start)}, {id(plan.start)}
    for number, step in enumerate(plan.steps[:-1], start=1):
        if by_frame.issuperset(step.inputs) and _is_by_frame(step):
            by_frame.update(step.outputs)
        needed = (needed - set(step.last)) | set(step.outputs)
        # All that follows needs this one tensor.
        if needed == set(step.outputs) and by_frame.issuperset(needed):
            cut = number
    return cut


def _is_by_frame(step):
    layer, kind = step.layer, type(step.layer)
    if kind is ClipConv:
        return layer.kernel_size[0] == layer.strides[0] == 1
    if kind is MaxPool:
        pool = layer.pool_size[0], layer.strides[0], *layer.margins[0]
        return pool == (1, 1, 0, 0)
    if kind is BatchNorm:
        return layer.axis in (-1, len(layer.output.shape) - 1)
    return kind in BY_FRAME and len(step.outputs) == 1


def _work(step):
    """Estimates the multiply-adds of a clip: each weight, at each place."""
    output = keras.tree.flatten(step.layer.output)[0]
    places = math.prod(n or 1 for n in output.shape[1:-1])
    kernels = [w for w in step.layer.weights if len(w.shape) > 1]
    return places * sum(math.prod(kernel.shape) for kernel in kernels)


def sharing(model, cutting, fps, size):
    """Returns the `Shared` of a stream, or `None` where sharing saves too little.

    Args:
        model: a model, of Keras or not.
        cutting: `stzoo.inference.stream.Cutting`.
        fps: float, frames per second of the source, or `None`.
        size: int, number of windows in a batch.
    """
    if type(model) is not Network or cutting.clip.uses_flow:
        return None
    total, new, kept = _frames(cutting, fps or cutting.rate)
    if 1 - new / total < LEAST:
        return None
    variables = list(map(id, model.variables))  # quantization replaces them
    if _halves.get(model, (None,))[0] != variables:
        _halves[model] = variables, split(model)
    halves = _halves[model][1]
    if halves is None:
        return None
    *networks, share, bytes_each = halves
    if share * (1 - new / total) < LEAST or bytes_each * (kept + size * new) > MOST:
        return None
    most = clips_at_once() * cutting.clip.frames
    return Shared(*networks, model.stzoo, min(most, math.ceil(size * new)))


def _frames(cutting, fps):
    """Counts the frames of a window, those that are new, and those that are kept.

    This is a forecast for a source whose frames are evenly spaced.
    """
    clips, crops = parse_views(cutting.views)
    every = max(cutting.every, 1 / fps)
    half = math.ceil(cutting.span / every)  # windows that overlap
    if half > WINDOWS:  # this would take long, and they show too many frames to keep
        return 1, 1, 0
    starts = np.arange(2 * half + 1)[:, None] * every
    shown = np.floor((starts + cutting.needed()) * fps + 1e-6)
    before = np.unique(shown[: half + 1])
    new = (len(np.unique(shown)) - len(before)) / half
    kept = np.count_nonzero(before >= shown[half, 0])
    return clips * crops * cutting.clip.frames, crops * new, crops * kept


class Shared:
    """Classifies windows, and keeps the features of their frames.

    Args:
        first, rest: two `Half`, see `split`.
        config: `stzoo.weights.config.ModelConfig` of the model.
        together: int, number of frames to compute at a time.
    """

    def __init__(self, first, rest, config, together):
        self.first, self.rest = first, rest
        self.config, self.together = config, together
        self._known, self._buffers = {}, {}

    def classify(self, windows):
        """Computes the class probabilities of the views of some windows.

        Args:
            windows: list with `views` and the names of their frames, `names`, see
                `stzoo.inference.stream`. Windows come in order.

        Returns:
            float32 array `(windows * views, classes)`.
        """
        missing = {}
        for window in windows:
            for row, names in enumerate(window.names):
                new = [i for i, name in enumerate(names) if name not in self._known]
                if any(names[i] not in missing for i in new):
                    clip = window.views[[row]][0]
                    missing.update((names[i], clip[i]) for i in new)
        self._known.update(zip(missing, self._features(missing.values()), strict=True))
        names = list(itertools.chain.from_iterable(w.names for w in windows))
        clips = _Clips(self._known, names, self._buffers)
        found = activate(predict_views(self.rest, clips), self.config)
        # Later windows start later, so they need no frame before those of the last one.
        oldest = min(min(row) for row in windows[-1].names)
        for name in [name for name in self._known if name[0] < oldest[0]]:
            del self._known[name]
        return found

    def _features(self, frames):
        """Yields the features of each frame, in batches of one size."""
        frames = list(frames)
        for start in range(0, len(frames), self.together):
            batch = frames[start : start + self.together]
            full = batch + batch[-1:] * (self.together - len(batch))
            yield from self.first.predict_on_batch(np.stack(full)[:, None])[
                : len(batch)
            ]

    def build(self, clips):
        """Builds the graphs, for clips of the shape and number of a window."""
        (features,) = self._features(clips[0, :1])
        shape = (*clips.shape[:2], *features.shape[1:])
        predict_views(self.rest, np.broadcast_to(features, shape))


class _Clips:
    """The features of clips, which are joined on access, in memory that is used again.

    C2D has megabytes of features for each frame, and new memory takes longer to get
    than to fill.
    """

    def __init__(self, known, names, buffers):
        self._known, self._names, self._buffers = known, names, buffers

    def __len__(self):
        return len(self._names)

    def __getitem__(self, rows):
        names = [self._names[row] for row in rows]
        features = [self._known[name] for clip in names for name in clip]
        one, shape = features[0], (len(features), *features[0].shape[1:])
        if shape not in self._buffers:
            self._buffers.clear()
            self._buffers[shape] = np.empty(shape, one.dtype)
        joined = np.concatenate(features, out=self._buffers[shape])
        return joined.reshape(len(names), -1, *one.shape[1:])
