"""Lists, builds and loads models by name."""

import dataclasses
import functools
from fnmatch import fnmatch
from inspect import signature
from reprlib import repr as shortened

from stzoo.deploy.fusion import fold
from stzoo.layers.initializers import at_most
from stzoo.models import (
    cost,
    cstm,
    gsm,
    p3d,
    s3d,
    stm,
    stpn,
    trn,
    tsm,
    tsn,
    videomae,
    vjepa2,
)
from stzoo.models.family import SHARED
from stzoo.weights import checkpoint
from stzoo.weights.catalogue import describe

_MODULES = (cost, p3d, s3d, cstm, stpn, stm, gsm, tsm, trn, tsn, vjepa2, videomae)
FAMILIES = tuple(module.FAMILY for module in _MODULES)
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
        pattern: string with wildcards, such as `"cost*"`, for the name of the builder,
            or for `builder.tag` with `pretrained=True`.
        pretrained: bool, whether to list weights instead of builders.
        unavailable: bool, whether to include weights that are not published, or that
            must be converted first.

    Returns:
        Sorted list of the names of builders, or of `stzoo.weights.catalogue.Weights`.
    """
    if not pretrained:
        return sorted(name for name in BUILDERS if fnmatch(name, pattern))
    names = sorted(name for name in ENTRIES if fnmatch(name, pattern))
    weights = [describe(ENTRIES[name]) for name in names]
    return [one for one in weights if one.is_available or unavailable]


def create(name, **kwargs):
    """Builds a model by its name.

    Args:
        name: string, a builder (`"cost_resnet50"`), or a builder and the tag of its
            weights (`"cost_resnet50.imagenet"`).
        **kwargs: arguments of the builder.

    Returns:
        `keras.Model`.

    Raises:
        ValueError: there is no such model, or an argument is invalid.
        FileNotFoundError: the weights do not exist.
        ConnectionError: the download failed.
    """
    builder, _, tag = name.partition(".")
    if builder not in BUILDERS:
        raise ValueError(
            f"There is no model {name!r}. Choose one of {', '.join(list_models())}."
        )
    if tag and kwargs.setdefault("pretrained", tag) != tag:
        raise ValueError(
            f"{name!r} already contains a tag, so omit `pretrained`. "
            f"Received: pretrained={kwargs['pretrained']!r}."
        )
    return BUILDERS[builder](**kwargs)


def load(where, classes=None, input_shape=None, name=None):
    """Loads a model from a folder, or from a repository of the Hub.

    Args:
        where: path of a folder written by `stzoo.save`, or
            `"hf://organisation/repository@revision"`.
        classes: int, the number of classes of a new head. `None`: the saved head.
        input_shape: tuple `(frames, height, width, channels)`. `None`: the saved input
            shape.
        name: string, the name of the model. `None`: the name of the builder.

    Returns:
        `keras.Model`.

    Raises:
        FileNotFoundError: the folder, the repository or a file in it does not exist.
        ConnectionError: the download failed.
        ValueError: the model is damaged or invalid, or an argument does not fit it.
    """
    source = checkpoint.read(where)
    builder = source.config.builder
    try:
        if builder not in BUILDERS:
            known = ", ".join(BUILDERS)
            raise ValueError(f"the builder {shortened(builder)} is not one of {known}")
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
    # An error can be due to the arguments of the caller.
    chosen = (classes, input_shape, name) != (None, None, None)
    return _built(build, source, classes, chosen)


def _built(build, source, classes, chosen):
    """Builds the model of a source, whose options may be invalid."""
    try:
        with at_most(*_room(source, classes)):
            return build()
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        if chosen or str(error).startswith(str(source.where)):
            raise
        problem = f"the model cannot be built: {error}"
        raise source.refuse(checkpoint.hub.CONFIG, problem) from error


def _room(source, classes):
    """Returns limits for the kernels of a model and for the numbers in them.

    They are twice those of the weights, so that missing tensors still get an error with
    their names.
    """
    kernels = [tensor.size for tensor in source.tensors.values() if tensor.ndim > 1]
    times = 4 if source.config.fused else 2  # fusing folds kernels
    head = (classes or 0) * len(source.tensors[checkpoint.HEAD + "kernel"])
    return times * len(kernels), times * sum(kernels) + 10**6 + head


def family(name):
    """Returns the `Family` of a builder.

    Args:
        name: string, a builder.
    """
    builder = BUILDERS[name]
    return next(family for family in FAMILIES if builder in family.architectures)


def default_options(name):
    """Returns the options of a builder and their defaults, without shared arguments.

    Args:
        name: string, a builder.
    """
    parameters = signature(BUILDERS[name]).parameters
    return {key: p.default for key, p in parameters.items() if key not in SHARED}


def check_options(name, options):
    """Checks the options of a builder, and converts lists from JSON to tuples.

    Args:
        name: string, a builder.
        options: dict.

    Returns:
        Dict.

    Raises:
        ValueError: an option is unknown or invalid.
    """
    known = default_options(name)
    if unknown := sorted(options.keys() - known.keys()):
        names = ", ".join(n if len(n) < 30 else shortened(n) for n in unknown[:6])
        raise ValueError(
            f"{name} has no option {names}. Its options are {', '.join(known)}"
        )
    options = {k: tuple(v) if type(v) is list else v for k, v in options.items()}
    for key, value in options.items():
        if value is known[key] is None:
            continue
        default = "a text" if known[key] is None else known[key]
        pairs = [(value, default)]
        if type(default) is type(value) is tuple:
            pairs = [(item, default[0]) for item in value]
        if any(type(received) is not type(kind) for received, kind in pairs):
            raise ValueError(
                f"option {key} must have the type of {default!r}. "
                f"Received: {shortened(value)}"
            )
    family(name).check_choices(options)
    return options
