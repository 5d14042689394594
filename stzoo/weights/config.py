"""The records of a model: `ClipConfig` for its input, `ModelConfig` for its weights."""

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
FORMAT = 2  # of config.json: the newest that is read, and that of several labels
FORMAT_OF_ONE = 1  # for models with one label a video, so that older versions read them
RGB_MEAN = (123.675, 116.28, 103.53)  # ImageNet, in the order R, G, B, of 0..255
RGB_STD = (58.395, 57.12, 57.375)
# Limits, so that a downloaded file cannot exhaust the memory.
LARGEST = {
    **dict(frames=4096, snippet=4096, stride=2**20),
    **dict(height=2**13, width=2**13, short_side=2**13),
}
PIXELS = 2**28  # in a clip: 64 frames of 2048x2048
CHANNELS = 16
FASTEST = 100_000  # frames per second
CONFIG_BYTES = 2**24


@dataclass(frozen=True)
class ClipConfig:
    """The clips that a model expects, and how they are made from a video.

    Args:
        frames: int, number of frames in a clip.
        stride: int, distance between two frames of a clip, in frames of the video.
            It is used for `sampling="dense"` only.
        height: int, height of the crop in pixels. `None`: the whole frame.
        width: int, width of the crop in pixels. `None`: the whole frame.
        short_side: int, pixels of the shorter side of a frame after resizing (bilinear,
            with the same aspect ratio). The resized frame is cropped.
        mean: tuple of floats, the mean of each channel, which is subtracted. The unit
            is that of the input, 0 to 255. The channels are R, G, B, or x, y of optical
            flow (128 is no motion), or all five.
        std: tuple of floats, the standard deviation of each channel, in the same unit.
        order: `"RGB"` or `"BGR"`, the order of channels inside the network. The input
            of a model is always RGB.
        sampling: `"dense"`, frames `stride` apart (CoST, Section 4.2), or
            `"segments"`, one frame from each of `frames` equal segments (TSN).
        snippet: int, number of consecutive frames that are sampled together (STPN: 10).
            `frames` must be a multiple of it.
        flow: `"dis"` or `"tvl1"`, the algorithm of optical flow, see `stzoo.data.flow`.
        fps: float, frames per second of the videos for which `stride` was chosen.
            `None`: unknown.
        sample_fps: float, the frame rate to which videos are resampled, so that a clip
            spans the same time in all videos. `None`: videos keep their frame rate, as
            in the papers.
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
                    f"ClipConfig: {name} must be a tuple of numbers. Received: "
                    f"{received}."
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
                "mean and std must have one number for each of at most "
                f"{CHANNELS} channels, and std must be positive. Received: "
                f"mean={shortened(self.mean)}, std={shortened(self.std)}"
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
                    f"{name} must be an integer from 1 to {most}. "
                    f"Received: {shortened(value)}"
                )
        for name in ("fps", "sample_fps"):
            value = getattr(self, name)
            if value is None:
                continue
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            if not is_number or not 0 < value <= FASTEST:
                return (
                    f"{name} must be None, or a positive number up to {FASTEST}. "
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
        """The input shape without the batch, `(frames, height, width, channels)`."""
        return (self.frames, self.height, self.width, len(self.mean))

    @property
    def uses_flow(self):
        """Whether the input has optical flow: two channels, or five with RGB."""
        return len(self.mean) in (2, 5)

    def resized(self, shape):
        """Returns the same preparation for another input shape.

        `short_side` is scaled with the crop, which then shows the same part of a frame.

        Args:
            shape: tuple `(frames, height, width, channels)`.
        """
        frames, height, width, channels = shape
        if channels != len(self.mean):
            raise ValueError(
                f"input_shape={tuple(shape)} has {channels} channels, but the model "
                f"has {len(self.mean)}: mean={self.mean}."
            )
        sized = dataclasses.replace(self, frames=frames, height=height, width=width)
        short_side = self.short_side
        if None not in (height, width, self.height, self.width):
            scale = min(height, width) / min(self.height, self.width)
            short_side = max(round(short_side * scale), height, width)
        return dataclasses.replace(sized, short_side=short_side)


@dataclass(frozen=True)
class ModelConfig:
    """A model and its weights: an entry of the zoo, or the content of a config.json.

    The record of a model is `model.stzoo`. With random weights, it has only the fields
    that build the model and prepare its input.

    Args:
        builder: string, the function of `stzoo` that builds the model.
        tag: string, the name of the weights among those of the builder. `builder.tag`
            is their full name, and the name of their folder or repository. Empty for
            weights that are not part of the zoo.
        dataset: string, the data set of the classes, see `stzoo.weights.labels`. Empty
            if it is unknown or not public.
        options: dict, the arguments of the builder, except for the classes and sizes.
        classes: int, the number of logits.
        clip: `ClipConfig`, the input of the model.
        labels: tuple of strings, the classes in the order of the logits, or empty.
        licence: string, the licence of the weights.
        source: string, the origin of the weights or of the reported accuracy.
        reported: dict, the accuracy that the source reports.
        measured: dict, the accuracy measured with this library.
        repository: string, a Hub repository whose `model.safetensors` has PyTorch
            names, or a URL, see `stzoo.weights.url_cache`. Empty: a repository
            `builder.tag` in the layout of stzoo.
        revision: string, branch, tag or commit of the repository.
        sha256: string, hash of `model.safetensors`, or empty if it is unknown.
        allow_missing: tuple of strings, patterns (`re.search`) for the paths of
            variables that can be missing in the file. They keep their initial values.
        fused: bool, whether the weights are those of a fused model, see `stzoo.fuse`.
        base_model: string, the weights that the training started from: an entry of the
            zoo, or `"hf://organisation/repository@revision"`. Empty: random or unknown
            weights.
        export: dict, of an exported model, see `stzoo.export`: `format`, `file`,
            `precision`, `input` (name, dtype, shape, range), `outputs`, and `files`, a
            dict from name to sha256. Empty for other models.
        training: dict, how the model was trained: `recipe`, `videos`, `epochs`, ...,
            and `validation`, a dict of the results on the validation videos.
        multi_label: bool, whether a video can have several labels, or none. The
            probability of each class is then the sigmoid of its logit. Otherwise, the
            probabilities are the softmax of the logits.
        thresholds: tuple of floats from 0 to 1, for `multi_label`: a class is predicted
            if its probability is at least its threshold. Empty: 0.5 for all.
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
    export: dict = field(default_factory=dict)
    multi_label: bool = False
    thresholds: tuple[float, ...] = ()

    @property
    def name(self):
        """The name, `"builder.tag"`, or `"builder"` without a tag."""
        return f"{self.builder}.{self.tag}" if self.tag else self.builder

    @property
    def class_names(self):
        """The labels, or `"class 0"`, `"class 1"`, ... if they are unknown."""
        return self.labels or tuple(f"class {number}" for number in range(self.classes))

    @property
    def new_head(self):
        """Whether the file has no head. Its classes and clip are then not used."""
        return "^fc/" in self.allow_missing

    def to_config(self):
        """Returns the record as a dict for a config.json."""
        config = {name: getattr(self, name) for name in _kinds()}
        config |= {"clip": dataclasses.asdict(self.clip), "labels": list(self.labels)}
        config["thresholds"] = list(self.thresholds)
        known = {name: value for name, value in config.items() if value}
        format = FORMAT if self.multi_label else FORMAT_OF_ONE
        made_by = {"format": format, "version": _our_version()}
        return {"library": "stzoo", **made_by, **known}

    def to_json(self):
        """Returns the record as the bytes of a config.json."""
        text = json.dumps(self.to_config(), indent=2, ensure_ascii=False) + "\n"
        return text.encode("utf-8", "backslashreplace")

    @classmethod
    def from_json(cls, data):
        """Creates the record from the bytes of a config.json, see `from_config`."""
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
        """Creates the record from the content of a config.json.

        Entries that a newer version of stzoo has added are ignored, with a log message.

        Raises:
            ValueError: an entry is missing, unknown or invalid, or the format is newer.
        """
        if not isinstance(config, dict) or config.get("library") != "stzoo":
            raise ValueError('it does not contain "library": "stzoo"')
        config = {name: value for name, value in config.items() if name != "library"}
        is_newer = _is_newer(config.pop("format", 1), config.pop("version", "0"))
        kinds = _kinds()
        config = _known(config, kinds, is_newer, "entries")
        for name, value in config.items():
            if type(value) is not kinds[name]:
                raise ValueError(
                    f'"{name}" must be of type {kinds[name].__name__}. '
                    f"Received: {shortened(value)}"
                )
        if not config.get("builder"):
            raise ValueError('it has no "builder"')
        for name in ("builder", "tag"):
            if len(value := config.get(name, "")) > 100:
                raise ValueError(f'"{name}" is too long: {shortened(value)}')
        labels = tuple(config.get("labels", ()))
        classes = config.get("classes", cls.classes)
        if not all(isinstance(label, str) for label in labels):
            raise ValueError('"labels" must be a list of strings')
        if classes < 1 or len(labels) not in (0, classes):
            raise ValueError(
                f"it has {shortened(classes)} classes, but {len(labels)} labels"
            )
        thresholds = _thresholds(config, classes)
        clip = {f.name: None for f in dataclasses.fields(ClipConfig)}
        clip = _known(config.get("clip", {}), clip, is_newer, 'entries of "clip"')
        try:
            clip = ClipConfig(**clip)
        except ValueError as error:
            raise ValueError(f'"clip": {str(error).rstrip(".")}') from None
        changed = {"labels": labels, "clip": clip, "thresholds": thresholds}
        return cls(**{**config, **changed})


def _thresholds(config, classes):
    """Returns the checked thresholds of a config.json."""
    values = config.get("thresholds", ())
    if not all(type(value) in (int, float) and 0 <= value <= 1 for value in values):
        raise ValueError(
            '"thresholds" must be a list of numbers from 0 to 1. '
            f"Received: {shortened(values)}"
        )
    if len(values) not in (0, classes) or values and not config.get("multi_label"):
        raise ValueError(
            f"it has {shortened(classes)} classes, but {len(values)} thresholds. They "
            'are for "multi_label" only, one for each class'
        )
    return tuple(map(float, values))


def _our_version():
    try:
        return version("stzoo")
    except PackageNotFoundError:  # a checkout on the path, not installed
        return "0"


def _is_newer(format, written_by):
    """Returns whether a newer stzoo wrote a config.json, in a supported format."""
    ours = _our_version()
    if type(format) is not int or format < 1:
        raise ValueError(
            f'"format" must be an integer, at least 1. Received: {shortened(format)}'
        )
    if format > FORMAT:
        raise ValueError(
            f"it has format {shortened(format)}, written by stzoo "
            f"{shortened(written_by)}, but stzoo {ours} reads format {FORMAT}. Upgrade "
            "stzoo: `pip install --upgrade stzoo`"
        )
    try:
        return Version(written_by) > Version(ours)
    except (ValueError, TypeError):
        raise ValueError(
            f'"version" must be a version such as "{ours}". '
            f"Received: {shortened(written_by)}"
        ) from None


def _known(values, known, is_newer, what):
    """Returns the known entries. Only a newer stzoo may have written others."""
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
        raise ValueError(f"{shortened(text)} is not a JSON number")
    return value


def _kinds():
    """Returns the entries of a config.json and their types."""
    kinds = {f.name: f.type for f in dataclasses.fields(ModelConfig)}
    # These are for entries of the zoo only.
    for name in ("repository", "revision", "allow_missing"):
        del kinds[name]
    return {**kinds, "clip": dict, "labels": list, "thresholds": list}
