"""Online recognition: one frame in, one answer out, and nothing is computed twice.

Lin, Gan, Han: TSM, Temporal Shift Module for Efficient Video Understanding. ICCV 2019,
Section 3.4. https://github.com/mit-han-lab/temporal-shift-module, `online_demo`

*Stated* by the authors' demo: an answer from the sum of the logits of the last 12
frames, and states of zeros before the first frame. *Ours*: the mean instead of the sum,
so that its softmax is that of the model for a clip; the number of frames of the clip of
the model instead of 12, which is the same for `tsm_mobilenetv2.jester_mit`. The demo
then corrects its answers by rules for its gestures, and an answer must come twice in a
row. This is not implemented.

This module imports no Keras, since exports also take frames one by one.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from stzoo.data.frames import resize
from stzoo.data.transforms import crop
from stzoo.inference.predict import (
    activate,
    decode_predictions,
    record_of,
    warn_without_weights,
)


@dataclass(frozen=True)
class FrameAnswer:
    """The prediction after a frame.

    Attributes:
        answers: list of tuples `(label, probability)`, the five most probable classes,
            the most probable first. If there can be several labels, those that reach
            their thresholds.
        probabilities: float32 array `(classes,)`, from the mean of the logits of the
            last frames.
        logits: float32 array `(classes,)`, those of this frame.
    """

    answers: list
    probabilities: np.ndarray = field(repr=False)
    logits: np.ndarray = field(repr=False)


class Online:
    """Recognises frame by frame, with a TSM that has the online shift.

    Each frame goes through the network once. The state is a small part of the features
    of the last frame, for each shift. The logits of a frame are those that the model
    has for this frame in a clip from the first frame on, and their mean over a clip is
    the output of the model.

    The network is fused (see `stzoo.fuse`) and has its own copy of the weights.

    Args:
        model: a model of the zoo that was built with `shift="online"`, or what
            `stzoo.load` returns for an export of one with `online=True`.
        frames: int, the number of last frames whose logits are averaged. Defaults to
            the number of frames in a clip of the model.

    Raises:
        ValueError: the model has no online shift, or an argument is wrong.

    Attributes:
        network: `keras.Model` for one frame, see `stzoo.inference.frame_network`, or
            the exported model.

    Example:

    >>> online = stzoo.online(stzoo.tsm_tiny(classes=12, shift="online"))
    >>> for frame in np.zeros((3, 240, 320, 3), "uint8"):  # as a camera gives them
    ...     answer = online(frame)
    >>> answer.probabilities.shape
    (12,)
    """

    def __init__(self, model, frames=None):
        self.config = record_of(model)
        check_online(model)
        self.frames = self.config.clip.frames if frames is None else frames
        if type(self.frames) is not int or self.frames < 1:
            raise ValueError(
                "frames must be an integer, at least 1: an answer averages so many "
                f"frames. Received: {frames!r}"
                f"{', and the clips of the model have any number' * (not frames)}."
            )
        if self.config.export:
            self.network, self._compute = model, model.step
            self._shapes = list(model.states.values())
        else:
            from stzoo.inference.frame_network import frame_network

            warn_without_weights(model)
            self.network = frame_network(model)
            self._compute = self.network.predict_on_batch
            self._shapes = [(1, *state.shape[1:]) for state in self.network.input[1:]]
        self.reset()

    def reset(self):
        """Forgets all frames. The next one is the first frame of a video."""
        self._states = [np.zeros(shape, "float32") for shape in self._shapes]
        self._recent = deque(maxlen=self.frames)

    def __call__(self, frame):
        """Takes the next frame.

        Args:
            frame: uint8 array `(height, width, 3)`, RGB, of any size. It is resized
                and cropped as the clips of the model are.

        Returns:
            `FrameAnswer`.
        """
        frame, clip = np.asarray(frame), self.config.clip
        if frame.dtype != np.uint8 or frame.shape[2:] != (3,) or not frame.size:
            raise ValueError(
                "A frame must be a uint8 array (height, width, 3), RGB from 0 to 255. "
                f"Received: {frame.dtype} {frame.shape}."
            )
        frame = crop(resize(frame, clip.short_side), clip.height, clip.width)
        logits = self.step(frame)
        answers = decode_predictions(self.probabilities, self.config)
        return FrameAnswer(answers, self.probabilities, logits)

    def step(self, frame):
        """Takes the next frame, which is already prepared. Returns its logits.

        Args:
            frame: array of the size of the clip, `(height, width, 3)`, from 0 to 255.
        """
        inputs = [np.asarray(frame, "float32")[None, None], *self._states]
        logits, *self._states = self._compute(inputs)
        self._recent.append(np.asarray(logits[0], "float32"))
        return self._recent[-1]

    @property
    def probabilities(self):
        """Returns the probabilities for the last frames, float32 `(classes,)`."""
        if not self._recent:
            raise ValueError("There is no answer before the first frame. Give one.")
        return activate(np.mean(self._recent, axis=0), self.config)


def is_online(model):
    """Returns whether a model can take frames one by one."""
    config = record_of(model)
    if config.export:
        return "states" in config.export
    return config.options.get("shift") == "online"


def check_online(model):
    """Raises a `ValueError` unless a model can take frames one by one."""
    config = record_of(model)
    if config.export and not is_online(model):
        raise ValueError(
            f"{config.name} is an exported model, which takes whole clips. Pass the "
            "model that was exported, or export it with online=True."
        )
    if not is_online(model):
        raise ValueError(
            f"{config.name} also looks at later frames, or has no memory of earlier "
            "ones, so it cannot take frames one by one. Build and train a TSM with "
            'shift="online", such as stzoo.tsm_mobilenetv2(shift="online"), or use '
            "`stzoo.stream`, which gives whole clips to any model."
        )
    if None in (config.clip.height, config.clip.width):
        raise ValueError(
            f"The states of {config.name} have no size, since it takes frames of any "
            "size. Build or load it with input_shape=..."
        )
