"""The two records of the zoo: how a model is fed, and what is known of its weights."""

import dataclasses
import math
from dataclasses import dataclass, field
from numbers import Real

RGB_MEAN = (123.675, 116.28, 103.53)  # ImageNet, in the order R, G, B, of 0..255
RGB_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Clip:
    """What the weights of a model expect to see of a video.

    Args:
        frames: int, frames in a clip.
        stride: int, distance between two frames of a clip, in frames of the video
            (`sampling="dense"`; segments have no stride).
        height: int or `None`, height of the crop in pixels. `None`: the whole frame.
        width: int or `None`, width of the crop in pixels.
        short_side: int, the frame is resized (bilinear, keeping its shape) until its
            shorter side has this many pixels; then it is cropped.
        mean: tuple of floats, subtracted from each channel, in units of 0..255, in
            the order of the model's input: R, G, B; or x, y of optical flow, whose
            zero is 128; or all five.
        std: tuple of floats, each channel is divided by it, in the same units.
        order: `"RGB"` or `"BGR"`, the order of channels inside of the network. The
            input of a model is RGB in either case.
        sampling: `"dense"`, frames `stride` apart (CoST, Section 4.2), or
            `"segments"`, one frame from each of `frames` equal parts (TSN).
        snippet: int, so many frames follow each other, where `"dense"` and
            `"segments"` else have one (STPN: 10); `frames` is a multiple of it.
        flow: `"dis"` or `"tvl1"`, what computes optical flow, see `stzoo.data.flow`.
    """

    frames: int = 8
    stride: int = 8
    height: int | None = 224
    width: int | None = 224
    short_side: int = 256
    mean: tuple[float, ...] = RGB_MEAN
    std: tuple[float, ...] = RGB_STD
    order: str = "RGB"
    sampling: str = "dense"
    snippet: int = 1
    flow: str = "dis"

    def __post_init__(self):
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, tuple | list) or not all(
                isinstance(value, Real) and math.isfinite(value) for value in values
            ):
                raise ValueError(f"Clip: {name} must be numbers. Received: {values!r}.")
            object.__setattr__(self, name, tuple(map(float, values)))
        problem = None
        if self.order not in ("RGB", "BGR"):
            problem = f'order must be "RGB" or "BGR". Received: {self.order!r}'
        elif self.sampling not in ("dense", "segments"):
            problem = (
                f'sampling must be "dense" or "segments". Received: {self.sampling!r}'
            )
        elif len(self.mean) != len(self.std) or min(self.std, default=0) <= 0:
            problem = (
                "mean and std need one number for each channel, std above 0. "
                f"Received: mean={self.mean}, std={self.std}"
            )
        elif self.flow not in ("dis", "tvl1"):
            problem = f'flow must be "dis" or "tvl1". Received: {self.flow!r}'
        numbers = ("frames", "stride", "height", "width", "short_side", "snippet")
        for name in numbers:
            value = getattr(self, name)
            optional = name in ("frames", "height", "width") and value is None
            if not optional and (type(value) is not int or value < 1):
                problem = f"{name} must be a whole number from 1. Received: {value!r}"
        if not problem and self.frames and self.frames % self.snippet:
            problem = (
                f"frames must be a multiple of snippet={self.snippet}. "
                f"Received: {self.frames}"
            )
        if problem:
            raise ValueError(f"Clip: {problem}.")

    @property
    def shape(self):
        """`(frames, height, width, channels)`, the input of a model without batch."""
        return (self.frames, self.height, self.width, len(self.mean))

    @property
    def moving(self):
        """Whether the model takes optical flow: two channels, or five with RGB."""
        return len(self.mean) in (2, 5)

    def resized(self, shape):
        """The same preparation for a model of another input shape.

        The shorter side is scaled with the crop, so that the crop keeps showing the
        same part of the frame.

        Args:
            shape: tuple `(frames, height, width, channels)`.
        """
        frames, height, width, channels = shape
        if channels != len(self.mean):
            raise ValueError(
                f"input_shape={tuple(shape)} has {channels} channels, but the "
                f"preparation is for {len(self.mean)}: mean={self.mean}."
            )
        short_side = self.short_side
        if None not in (height, width, self.height, self.width):
            scale = min(height, width) / min(self.height, self.width)
            short_side = max(round(short_side * scale), height, width)
        return dataclasses.replace(
            self, frames=frames, height=height, width=width, short_side=short_side
        )


@dataclass(frozen=True)
class Pretrained:
    """What is known of the weights of a model: an entry of the zoo, or a config.json.

    A model carries the record of its own as `model.stzoo`; for fresh weights, only
    what builds and feeds the model is filled in.

    Args:
        builder: string, the function of `stzoo` that builds the model.
        tag: string, the name of this training: `builder.tag` is the name of the
            weights, and of their folder or repository. Empty for a user's own.
        options: dict, what the builder was called with, sizes aside.
        classes: int, the number of logits.
        clip: `Clip`, how to feed the model.
        labels: tuple of strings, the classes in the order of the logits, or empty.
        licence: string, the licence of the weights.
        source: string, where the weights or the figures come from.
        reported: dict, accuracy as the source reports it.
        measured: dict, accuracy as measured with this library.
        repository: string, a Hub repository whose `model.safetensors` has the names
            of PyTorch, or an address, see `stzoo.weights.url_cache`. Empty: our own
            layout, under `builder.tag`.
        revision: string, branch, tag or commit of the repository.
        sha256: string, hash of `model.safetensors`, where it is known.
        new: tuple of strings, patterns (`re.search`) of the paths of variables that
            the file does not have and that keep their initial values.
        fused: bool, the weights are of the deploy form, see `stzoo.fuse`.
    """

    builder: str
    tag: str = ""
    options: dict = field(default_factory=dict)
    classes: int = 400
    clip: Clip = Clip()
    labels: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""
    reported: dict = field(default_factory=dict)
    measured: dict = field(default_factory=dict)
    repository: str = ""
    revision: str = "main"
    sha256: str = ""
    new: tuple[str, ...] = ()
    fused: bool = False

    @property
    def name(self):
        """`"builder.tag"`, or the builder alone."""
        return f"{self.builder}.{self.tag}" if self.tag else self.builder

    @property
    def new_head(self):
        """Whether the file has no head: what it says of classes and clip is another
        network's."""
        return "^fc/" in self.new

    def to_config(self):
        """The record as plain values for a config.json."""
        config = {name: getattr(self, name) for name in _kinds()}
        config |= {"clip": dataclasses.asdict(self.clip), "labels": list(self.labels)}
        known = {name: value for name, value in config.items() if value}
        return {"library": "stzoo", **known}

    @classmethod
    def from_config(cls, config):
        """The record from the values of a config.json.

        Raises:
            ValueError: where a value is missing, unknown or not of its kind.
        """
        if not isinstance(config, dict) or config.get("library") != "stzoo":
            raise ValueError('it does not say "library": "stzoo"')
        config = {name: value for name, value in config.items() if name != "library"}
        kinds = _kinds()
        if unknown := sorted(config.keys() - kinds.keys()):
            raise ValueError(f"it has unknown entries: {', '.join(unknown)}")
        for name, value in config.items():
            if type(value) is not kinds[name]:
                raise ValueError(
                    f'"{name}" must be a {kinds[name].__name__}, not {value!r}'
                )
        if not config.get("builder"):
            raise ValueError('it does not name a "builder"')
        labels = tuple(config.get("labels", ()))
        classes = config.get("classes", cls.classes)
        if not all(isinstance(label, str) for label in labels):
            raise ValueError('"labels" must be strings')
        if classes < 1 or len(labels) not in (0, classes):
            raise ValueError(f"it has {classes} classes, but {len(labels)} labels")
        try:
            clip = Clip(**config.get("clip", {}))
        except (TypeError, ValueError) as error:
            raise ValueError(f'"clip": {str(error).rstrip(".")}') from None
        return cls(**{**config, "labels": labels, "clip": clip})


def _kinds():
    """The entries of a config.json and their types in JSON."""
    kinds = {f.name: f.type for f in dataclasses.fields(Pretrained)}
    for name in ("repository", "revision", "new"):  # of the zoo's own entries only
        del kinds[name]
    return {**kinds, "clip": dict, "labels": list}
