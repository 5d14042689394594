"""From a name to a model."""

import dataclasses
import functools
from fnmatch import fnmatch
from inspect import signature
from reprlib import repr as shortened

from stzoo.deploy.fusion import fold
from stzoo.layers.initializers import at_most
from stzoo.models import cost, cstm, gsm, p3d, stpn, tsm, tsn
from stzoo.models.family import SHARED
from stzoo.weights import checkpoint
from stzoo.weights.catalogue import describe

FAMILIES = tuple(module.FAMILY for module in (cost, p3d, cstm, stpn, gsm, tsm, tsn))
BUILDERS = {
    builder.__name__: builder for family in FAMILIES for builder in family.architectures
}
ENTRIES = {entry.name: entry for family in FAMILIES for entry in family.entries}

for _family in FAMILIES:
    for _builder in _family.architectures:
        _builder.__doc__ = _family.document(_builder)


def list_models(pattern="*", pretrained=False, unavailable=False):
    """Lists the models of the zoo, or their weights.

    Args:
        pattern: string with wildcards, of the builder or of `builder.tag`: `"cost*"`.
        pretrained: bool, list weights instead of builders.
        unavailable: bool, list the weights too that nobody has published, or that have
            to be converted first.

    Returns:
        List of the names of builders, sorted; or of
        `stzoo.weights.catalogue.Weights`, sorted by name.
    """
    if not pretrained:
        return sorted(name for name in BUILDERS if fnmatch(name, pattern))
    names = sorted(name for name in ENTRIES if fnmatch(name, pattern))
    weights = [describe(ENTRIES[name]) for name in names]
    return [one for one in weights if one.is_available or unavailable]


def create(name, **kwargs):
    """Builds a model by its name.

    Args:
        name: string, a builder (`"cost_resnet50"`), or with the tag of its weights
            (`"cost_resnet50.imagenet"`).
        **kwargs: arguments of the builder.

    Returns:
        `keras.Model`.
    """
    builder, _, tag = name.partition(".")
    if builder not in BUILDERS:
        raise ValueError(
            f"There is no model {name!r}. Known: {', '.join(list_models())}."
        )
    if tag and kwargs.setdefault("pretrained", tag) != tag:
        raise ValueError(
            f"{name!r} already contains a tag, so omit `pretrained`. "
            f"Received: pretrained={kwargs['pretrained']!r}."
        )
    return BUILDERS[builder](**kwargs)


def load(where, classes=None, input_shape=None, name=None):
    """Builds the model of a folder or of a repository of the Hub.

    Args:
        where: path of a folder that `stzoo.save` has written, or
            `"hf://organisation/repository@revision"`.
        classes: int, for a new head of another size.
        input_shape: tuple `(frames, height, width, channels)`, for another input.
        name: string, the name of the model.

    Returns:
        `keras.Model`.
    """
    source = checkpoint.read(where)
    builder = source.config.builder
    try:
        if builder not in BUILDERS:
            known = ", ".join(BUILDERS)
            raise ValueError(
                f"it names the builder {shortened(builder)}, which is none of {known}"
            )
        options = check_options(builder, source.config.options)
    except ValueError as error:
        raise source.refuse(checkpoint.hub.CONFIG, error) from None
    if source.config.fused:
        source = dataclasses.replace(source, form=fold)
    tensors = checkpoint.read_tensors(source)
    source = dataclasses.replace(source, tensors=tensors, data=None)
    build = functools.partial(
        *(BUILDERS[builder], classes, input_shape, source), name=name, **options
    )
    # What the caller has chosen may be what is wrong.
    chosen = (classes, input_shape, name) != (None, None, None)
    return _built(build, source, classes, chosen)


def _built(build, source, classes, chosen):
    """A model of the weights of a source, whose options may be nonsense."""
    try:
        with at_most(*_room(source, classes)):
            return build()
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        if chosen or str(error).startswith(str(source.where)):
            raise
        problem = f"no model can be built as it says: {error}"
        raise source.refuse(checkpoint.hub.CONFIG, problem) from error


def _room(source, classes):
    """How many kernels and numbers a model of these weights may draw.

    Twice what there is, so that a few missing tensors are an error that names them.
    """
    kernels = [tensor.size for tensor in source.tensors.values() if tensor.ndim > 1]
    times = 4 if source.config.fused else 2  # with and without what is folded
    head = (classes or 0) * len(source.tensors[checkpoint.HEAD + "kernel"])
    return times * len(kernels), times * sum(kernels) + 10**6 + head


def family(name):
    """The `Family` of a builder.

    Args:
        name: string, a builder.
    """
    builder = BUILDERS[name]
    return next(family for family in FAMILIES if builder in family.architectures)


def default_options(name):
    """The options of a builder and their defaults, classes and sizes aside.

    Args:
        name: string, a builder.
    """
    parameters = signature(BUILDERS[name]).parameters
    return {key: p.default for key, p in parameters.items() if key not in SHARED}


def check_options(name, options):
    """Options as JSON has them, turned into those that a builder takes.

    Args:
        name: string, a builder.
        options: dict.

    Returns:
        Dict, lists as tuples.
    """
    known = default_options(name)
    if unknown := sorted(options.keys() - known.keys()):
        names = ", ".join(n if len(n) < 30 else shortened(n) for n in unknown[:6])
        raise ValueError(f"{name} has no option {names}, but {', '.join(known)}")
    options = {k: tuple(v) if type(v) is list else v for k, v in options.items()}
    for key, value in options.items():
        if value is known[key] is None:
            continue
        default = "a text" if known[key] is None else known[key]  # that of the weights
        pairs = [(value, default)]
        if type(default) is type(value) is tuple:
            pairs = [(item, default[0]) for item in value]
        if any(type(received) is not type(kind) for received, kind in pairs):
            raise ValueError(
                f"option {key} must be like {default!r}, not {shortened(value)}"
            )
    family(name).check_choices(options)
    return options
