"""From a name to a model."""

from fnmatch import fnmatch
from inspect import signature

from stzoo import checkpoint
from stzoo.models import cost

FAMILIES = (cost,)
BUILDERS = {builder.__name__: builder for f in FAMILIES for builder in f.BUILDERS}
PRETRAINED = {entry.name: entry for family in FAMILIES for entry in family.PRETRAINED}


def list_models(pattern="*", pretrained=False):
    """Lists the models of the zoo.

    Args:
        pattern: string with wildcards: `"cost*"`.
        pretrained: bool, list `builder.tag` for the weights with an entry instead of
            the builders.

    Returns:
        List of strings, sorted.
    """
    names = PRETRAINED if pretrained else BUILDERS
    return sorted(name for name in names if fnmatch(name, pattern))


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
            f"The name {name!r} already says the weights. "
            f"Received: pretrained={kwargs['pretrained']!r}."
        )
    return BUILDERS[builder](**kwargs)


def load(where, classes=None, clip=None):
    """Builds the model of a folder or of a repository of the Hub.

    Args:
        where: path of a folder that `stzoo.save` has written, or
            `"hf://organisation/repository@revision"`.
        classes: int, for a new head of another size.
        clip: tuple `(frames, height, width, channels)`, for another input.

    Returns:
        `keras.Model`.
    """
    about = checkpoint.read(where).about
    if about.builder not in BUILDERS:
        raise ValueError(
            f"{where}/{checkpoint.hub.CONFIG} names the builder {about.builder!r}. "
            f"Known: {', '.join(list_models())}."
        )
    builder = BUILDERS[about.builder]
    known = signature(builder).parameters.keys() - {"classes", "clip", "pretrained"}
    if unknown := about.options.keys() - known:
        raise ValueError(
            f"{where}/{checkpoint.hub.CONFIG} has options that {about.builder} does "
            f"not take: {', '.join(sorted(unknown))}. "
            f"Known: {', '.join(sorted(known))}."
        )
    return builder(classes=classes, clip=clip, pretrained=where, **about.options)
