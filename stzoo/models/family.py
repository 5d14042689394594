"""The spine of the zoo: what a family of models is, and the one way to build a model.

A model file holds a paper: its graphs, its key map, its named builders, and one
`Family` record that says which graph stands behind each builder and which weights
there are. Every builder ends in `Family.build`.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from reprlib import repr as shortened

from stzoo.weights import checkpoint
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.labels import classes_of

SHARED = ("classes", "input_shape", "pretrained", "name")  # arguments of every builder
DOC = """{summary}

Args:
    classes: int, the number of logits. Defaults to the number of classes of the
        weights, or to {classes} for random weights.
    input_shape: tuple `(frames, height, width, channels)`, in which frames, height and
        width can be `None`. Defaults to the input shape of the weights, or to
        `{shape}` for random weights.
    pretrained: the weights: a tag ({tags}), `True` for the first tag, the path of a
        folder, or `"hf://organisation/repository@revision"`. `None` or `False`: random
        weights.
{options}    name: string, the name of the model. Defaults to the name of the builder.

Returns:
    `keras.Model`. The input is {kind} from 0 to 255, uint8 or float, with shape
    `(batch, frames, height, width, channels)`. The output is float32 logits with shape
    `(batch, classes)`.

Raises:
    ValueError: an argument is invalid, or the weights do not fit the model.
    FileNotFoundError: the weights do not exist.
    ConnectionError: the download failed.
"""


@dataclass(frozen=True)
class Architecture:
    """A network of a family, before it has weights.

    Args:
        graph: function `(config, name, **options)` that returns a `keras.Model`.
            `config` is the `ModelConfig` of the model, `options` are its options: what
            is recorded is what is built.
        clip: `ClipConfig`, or a function of the options that returns one: how the model
            is fed where the weights do not say it.
        classes: int, the number of logits where the weights do not say it.
    """

    graph: Callable
    clip: ClipConfig | Callable = ClipConfig()
    classes: int = 400

    def config(self, builder, options):
        """The record of a model without weights."""
        clip = self.clip(options) if callable(self.clip) else self.clip
        return ModelConfig(builder, options=options, classes=self.classes, clip=clip)


@dataclass(frozen=True)
class Family:
    """The models of one paper.

    Args:
        architectures: dict from builder to `Architecture`.
        entries: tuple of `ModelConfig`, the weights there are.
        arguments: dict from the name of an option to the text that documents it.
        choices: dict from the name of an option to the tuple of its values.
        defaults: dict, the values of options that are `None` and that the weights do
            not name.
        key_map: pairs for `stzoo.weights.convert.convert`: from foreign names to ours.
        prepare: function of a list of foreign checkpoints, dicts from name to array,
            and of the options, which returns one dict: the tensors to convert.
            `None`: those of the one checkpoint, as they are.
        describe: function of the `Source` of an entry, which returns one with what else
            its repository states, or `None`.
    """

    architectures: dict
    entries: tuple[ModelConfig, ...]
    arguments: dict = field(default_factory=dict)
    choices: dict = field(default_factory=dict)
    defaults: dict = field(default_factory=dict)
    key_map: tuple | dict = ()
    prepare: Callable | None = None
    describe: Callable | None = None

    def build(self, builder, options, classes, input_shape, pretrained, name):
        """Builds a model and loads its weights.

        Args:
            builder: function, a key of `architectures`.
            options: dict, the arguments of the builder that no other family has.
            classes, input_shape, pretrained, name: the shared arguments of builders.

        Returns:
            `keras.Model`, whose `stzoo` is its `ModelConfig` record.
        """
        _check_sizes(classes, input_shape)
        self.check_choices(options)
        source = checkpoint.resolve_weights(builder.__name__, pretrained, self.entries)
        if source and self.describe:
            source = self.describe(source)
        options = self._complete(options, source)
        fresh = self.architectures[builder].config(builder.__name__, options)
        config = _resized(_known(fresh, source), classes, input_shape)
        config = dataclasses.replace(config, base_model=self._lineage(source))
        tensors = checkpoint.read_tensors(source) if source else None  # fails early
        model = self._graph(builder, config, name, source)
        if source:
            checkpoint.load_weights(
                model, source, tensors, self.key_map, self._preparation(options)
            )
        model.stzoo = config
        return model

    def _lineage(self, source):
        """What a model that is trained from a source names as its base."""
        if source is None:
            return ""
        if str(source.where).startswith("hf://"):
            return str(source.where)
        if source.config.name in {entry.name for entry in self.entries}:
            return source.config.name
        return source.config.base_model

    def _preparation(self, options):
        """A function of the tensors of one foreign checkpoint, or `None`."""
        return self.prepare and (lambda tensors: self.prepare([tensors], options))

    def _complete(self, options, source):
        """Every option with a value, those of the weights where there are some."""
        # Weights of another network's body serve any options that its shapes allow.
        known = source.config.options if source and not source.config.new_head else {}
        defaults = self.defaults | known
        complete = {
            key: defaults[key] if value is None else value
            for key, value in options.items()
        }
        if source:
            try:
                self.check_choices(complete)
            except ValueError as error:  # the caller's were checked before
                raise source.refuse(checkpoint.hub.CONFIG, error) from None
            _check_options(source.where, known, complete)
        return complete

    def check_choices(self, options):
        """Raises a `ValueError` for an option that is none of its choices."""
        for key, choices in self.choices.items():
            if options.get(key) is not None and options[key] not in choices:
                choices = ", ".join(map(repr, choices))
                raise ValueError(
                    f"{key} must be one of {choices}. "
                    f"Received: {shortened(options[key])}."
                )

    def _graph(self, builder, config, name, source):
        """The network, in the form that the weights are of."""
        try:
            graph = self.architectures[builder].graph
            model = graph(config, name or builder.__name__, **config.options)
            return source.form(model) if source and source.form else model
        except (TypeError, ValueError) as error:
            if source is None:
                raise
            problem = str(error)[:1000]  # as it may quote an option
            raise ValueError(f"{source.where} cannot be built: {problem}") from error

    def document(self, builder):
        """The docstring of a builder: its first line, and all of its arguments."""
        options = {
            key: parameter.default
            for key, parameter in signature(builder).parameters.items()
            if key not in SHARED
        }
        values = {k: self.defaults[k] if v is None else v for k, v in options.items()}
        config = self.architectures[builder].config(builder.__name__, values)
        name = builder.__name__
        tags = [f'`"{entry.tag}"`' for entry in self.entries if entry.builder == name]
        channels = {2: "optical flow", 5: "RGB and optical flow"}
        return DOC.format(
            summary=builder.__doc__.splitlines()[0],
            classes=config.classes,
            shape=config.clip.shape,
            tags=", ".join(tags) or "there is none",
            options="".join(f"    {k}: {self.arguments[k]}\n" for k in options),
            kind=channels.get(len(config.clip.mean), "RGB"),
        )


def torchvision_entry(builder, network, **fields):
    """Returns the entry of a model that starts from torchvision's ImageNet weights.

    Args:
        builder: string.
        network: string, name of the image network, such as `"resnet50"`.
        **fields: other fields of `ModelConfig`. They override those of this entry.
    """
    known = dict(
        tag="imagenet",
        licence="BSD-3-Clause",
        source="torchvision, IMAGENET1K_V1",
        repository=f"timm/{network}.tv_in1k",
        **classes_of("imagenet"),
    )
    return ModelConfig(builder, **known | fields)


def motions_entry(builder, clip, options=None):
    """Returns the entry of a tiny model that was trained on motions in this repository.

    Args:
        builder: string.
        clip: `ClipConfig`.
        options: dict, options of the builder that the weights need.
    """
    return ModelConfig(
        builder,
        tag="motions",
        dataset="motions",
        classes=12,
        clip=clip,
        options=options or {},
        licence="Apache-2.0",
        source="scripts/train_motions.py",
    )


def _check_sizes(classes, input_shape):
    if classes is not None and (type(classes) is not int or classes < 1):
        raise ValueError(
            f"classes must be an integer, at least 1. Received: {classes!r}."
        )
    if input_shape is None:
        return
    if not isinstance(input_shape, tuple | list) or len(input_shape) != 4:
        raise ValueError(
            "input_shape must be (frames, height, width, channels). "
            f"Received: {input_shape!r}."
        )


def _known(fresh, source):
    """The record of a model whose weights come from a source, or from none."""
    if source is None:
        return fresh
    config = dataclasses.replace(source.config, options=fresh.options)
    if config.new_head:
        config = dataclasses.replace(
            _with_new_head(config, fresh.classes), clip=fresh.clip
        )
    return config


def _resized(config, classes, input_shape):
    """The record for another number of classes, and for another input."""
    if input_shape:
        config = dataclasses.replace(config, clip=config.clip.resized(input_shape))
    if classes in (None, config.classes):
        return config
    return _with_new_head(config, classes)


def _with_new_head(config, classes):
    new = {"classes": classes, "multi_label": False, "thresholds": ()}
    return dataclasses.replace(config, labels=(), dataset="", **new)


def _check_options(where, known, received):
    """Options change what weights mean, often without changing their shapes."""
    received = json.loads(json.dumps(received))
    for key, value in json.loads(json.dumps(known)).items():
        if received.get(key) != value:
            raise ValueError(
                f"The weights of {where} were made with "
                f"{key[:30]}={shortened(value)}, but this model has "
                f"{key[:30]}={received.get(key)!r}. Pass the former, or let "
                "`stzoo.load` build the model."
            )
