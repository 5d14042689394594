"""The two records of the zoo: how a model is fed, and what is known of its weights."""

import dataclasses
import json
import logging
import math
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from numbers import Real
from reprlib import repr as shortened

from packaging.version import Version

logger = logging.getLogger("stzoo")
FORMAT = 1  # of config.json
RGB_MEAN = (123.675, 116.28, 103.53)  # ImageNet, in the order R, G, B, of 0..255
RGB_STD = (58.395, 57.12, 57.375)
# A file from elsewhere must not be able to fill the memory.
LARGEST = {
    **dict(frames=4096, snippet=4096, stride=2**20),
    **dict(height=2**13, width=2**13, short_side=2**13),
}
PIXELS = 2**28  # of a clip: 64 frames of 2048x2048
CHANNELS = 16
FASTEST = 100_000  # frames per second
CONFIG_BYTES = 2**24


@dataclass(frozen=True)
class ClipConfig:
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
        fps: float or `None`, the frames per second of the videos in which `stride` was
            counted, where that is known.
        sample_fps: float or `None`. With a number, a video is seen as if it had so
            many frames per second, so that a clip spans the same time of any video.
            `None`: frames are counted as they are, as in the originals.
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
    fps: float | None = None
    sample_fps: float | None = None

    def __post_init__(self):
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, tuple | list) or not all(
                isinstance(value, Real) and math.isfinite(value) for value in values
            ):
                received = shortened(values)
                raise ValueError(
                    f"ClipConfig: {name} must be numbers. Received: {received}."
                )
            object.__setattr__(self, name, tuple(map(float, values)))
        problem = None
        for name, words in (
            ("order", ("RGB", "BGR")),
            ("sampling", ("dense", "segments")),
            ("flow", ("dis", "tvl1")),
        ):
            if (value := getattr(self, name)) not in words:
                problem = (
                    f'{name} must be "{words[0]}" or "{words[1]}". '
                    f"Received: {shortened(value)}"
                )
        if not 0 < len(self.mean) == len(self.std) <= CHANNELS or min(self.std) <= 0:
            problem = (
                "mean and std need one number for each channel, at most "
                f"{CHANNELS}, std above 0. Received: mean={shortened(self.mean)}, "
                f"std={shortened(self.std)}"
            )
        problem = problem or self._size_problem()
        if problem:
            raise ValueError(f"ClipConfig: {problem}.")

    def _size_problem(self):
        for name, most in LARGEST.items():
            value = getattr(self, name)
            if name in ("frames", "height", "width") and value is None:
                continue
            if type(value) is not int or not 1 <= value <= most:
                return (
                    f"{name} must be a whole number from 1 to {most}. "
                    f"Received: {shortened(value)}"
                )
        for name in ("fps", "sample_fps"):
            value = getattr(self, name)
            if value is None:
                continue
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            if not is_number or not 0 < value <= FASTEST:
                return (
                    f"{name} must be a number above 0, at most {FASTEST}, or None. "
                    f"Received: {shortened(value)}"
                )
        pixels = math.prod(size or 1 for size in self.shape[:3])
        if pixels > PIXELS:
            return (
                "frames x height x width must be at most "
                f"{PIXELS}. Received: {self.shape}"
            )
        if self.frames and self.frames % self.snippet:
            return (
                f"frames must be a multiple of snippet={self.snippet}. "
                f"Received: {self.frames}"
            )
        return None

    @property
    def shape(self):
        """`(frames, height, width, channels)`, the input of a model without batch."""
        return (self.frames, self.height, self.width, len(self.mean))

    @property
    def uses_flow(self):
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
        sized = dataclasses.replace(self, frames=frames, height=height, width=width)
        short_side = self.short_side
        if None not in (height, width, self.height, self.width):
            scale = min(height, width) / min(self.height, self.width)
            short_side = max(round(short_side * scale), height, width)
        return dataclasses.replace(sized, short_side=short_side)


@dataclass(frozen=True)
class ModelConfig:
    """What is known of the weights of a model: an entry of the zoo, or a config.json.

    A model carries the record of its own as `model.stzoo`; for fresh weights, only
    what builds and feeds the model is filled in.

    Args:
        builder: string, the function of `stzoo` that builds the model.
        tag: string, the name of this training: `builder.tag` is the name of the
            weights, and of their folder or repository. Empty for a user's own.
        dataset: string, the data set whose classes the logits are, see
            `stzoo.weights.labels`. Empty: a user's own, or unknown.
        options: dict, what the builder was called with, sizes aside.
        classes: int, the number of logits.
        clip: `ClipConfig`, how to feed the model.
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
        allow_missing: tuple of strings, patterns (`re.search`) of the paths of
            variables that the file does not have and that keep their initial values.
        fused: bool, the weights are of the deploy form, see `stzoo.fuse`.
        base_model: string, where the weights that this training began from come from:
            an entry of the zoo or `"hf://organisation/repository@revision"`. Empty:
            it began from random weights, or from what is not known.
        training: dict, how the model was trained: `recipe`, `videos`, `epochs`, ...,
            and `validation`, a dict of the figures of the videos that chose the epoch.
    """

    builder: str
    tag: str = ""
    dataset: str = ""
    options: dict = field(default_factory=dict)
    classes: int = 400
    clip: ClipConfig = ClipConfig()
    labels: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""
    reported: dict = field(default_factory=dict)
    measured: dict = field(default_factory=dict)
    repository: str = ""
    revision: str = "main"
    sha256: str = ""
    allow_missing: tuple[str, ...] = ()
    fused: bool = False
    base_model: str = ""
    training: dict = field(default_factory=dict)

    @property
    def name(self):
        """`"builder.tag"`, or the builder alone."""
        return f"{self.builder}.{self.tag}" if self.tag else self.builder

    @property
    def class_names(self):
        """The labels; where they are not known, "class 0", "class 1" and so on."""
        return self.labels or tuple(f"class {number}" for number in range(self.classes))

    @property
    def new_head(self):
        """Whether the file has no head: what it says of classes and clip is another
        network's."""
        return "^fc/" in self.allow_missing

    def to_config(self):
        """The record as plain values for a config.json."""
        config = {name: getattr(self, name) for name in _kinds()}
        config |= {"clip": dataclasses.asdict(self.clip), "labels": list(self.labels)}
        known = {name: value for name, value in config.items() if value}
        made_by = {"format": FORMAT, "version": _our_version()}
        return {"library": "stzoo", **made_by, **known}

    @classmethod
    def from_json(cls, data):
        """The record from the bytes of a config.json, see `from_config`."""
        if len(data) > CONFIG_BYTES:
            raise ValueError(f"it has more than {CONFIG_BYTES} bytes")
        try:
            config = json.loads(
                data.decode(),
                object_pairs_hook=_without_doubles,
                parse_constant=_finite,
                parse_float=_finite,
            )
        except RecursionError:
            raise ValueError("it is nested too deeply (recursion)") from None
        return cls.from_config(config)

    @classmethod
    def from_config(cls, config):
        """The record from the values of a config.json.

        What a newer stzoo has added is left out, and a line of the log says so.

        Raises:
            ValueError: where a value is missing, unknown or not of its kind, or the
                format is newer.
        """
        if not isinstance(config, dict) or config.get("library") != "stzoo":
            raise ValueError('it does not say "library": "stzoo"')
        config = {name: value for name, value in config.items() if name != "library"}
        is_newer = _is_newer(config.pop("format", 1), config.pop("version", "0"))
        kinds = _kinds()
        config = _known(config, kinds, is_newer, "entries")
        for name, value in config.items():
            if type(value) is not kinds[name]:
                raise ValueError(
                    f'"{name}" must be a {kinds[name].__name__}, not {shortened(value)}'
                )
        if not config.get("builder"):
            raise ValueError('it does not name a "builder"')
        for name in ("builder", "tag"):
            if len(value := config.get(name, "")) > 100:
                raise ValueError(f'"{name}" is too long: {shortened(value)}')
        labels = tuple(config.get("labels", ()))
        classes = config.get("classes", cls.classes)
        if not all(isinstance(label, str) for label in labels):
            raise ValueError('"labels" must be strings')
        if classes < 1 or len(labels) not in (0, classes):
            raise ValueError(
                f"it has {shortened(classes)} classes, but {len(labels)} labels"
            )
        clip = {f.name: None for f in dataclasses.fields(ClipConfig)}
        clip = _known(config.get("clip", {}), clip, is_newer, 'entries of "clip"')
        try:
            clip = ClipConfig(**clip)
        except ValueError as error:
            raise ValueError(f'"clip": {str(error).rstrip(".")}') from None
        return cls(**{**config, "labels": labels, "clip": clip})


def _our_version():
    try:
        return version("stzoo")
    except PackageNotFoundError:  # a checkout on the path, not installed
        return "0"


def _is_newer(format, written_by):
    """Whether a newer stzoo has written a config.json, in a format that we know."""
    ours = _our_version()
    if type(format) is not int or format < 1:
        raise ValueError(
            f'"format" must be a whole number from 1, not {shortened(format)}'
        )
    if format > FORMAT:
        raise ValueError(
            f"it is of format {shortened(format)}, written by stzoo "
            f"{shortened(written_by)}, but stzoo {ours} reads format {FORMAT}. Upgrade "
            "stzoo: `pip install --upgrade stzoo`"
        )
    try:
        return Version(written_by) > Version(ours)
    except (ValueError, TypeError):
        raise ValueError(
            f'"version" must be like "{ours}", not {shortened(written_by)}'
        ) from None


def _known(values, known, is_newer, what):
    """The values of known names; of others only a newer stzoo may know more."""
    unknown = sorted(values.keys() - known.keys())
    if not unknown:
        return values
    names = ", ".join(
        name if len(name) < 30 else shortened(name) for name in unknown[:6]
    )
    names += f" and {len(unknown) - 6} more" if len(unknown) > 6 else ""
    if not is_newer:
        raise ValueError(f"it has unknown {what}: {names}")
    logger.warning(
        "A newer stzoo wrote this config.json. Its %s %s are ignored.", what, names
    )
    return {name: value for name, value in values.items() if name in known}


def _without_doubles(pairs):
    values = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"it has {shortened(name)} twice")
        values[name] = value
    return values


def _finite(text):
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{shortened(text)} is no number of JSON")
    return value


def _kinds():
    """The entries of a config.json and their types in JSON."""
    kinds = {f.name: f.type for f in dataclasses.fields(ModelConfig)}
    # Only entries of the zoo have these.
    for name in ("repository", "revision", "allow_missing"):
        del kinds[name]
    return {**kinds, "clip": dict, "labels": list}
