"""Options that several commands share, and the records that they stand for."""

from functools import partial
from importlib import import_module
from pathlib import Path

import click

MODEL = "cost_tiny.motions"  # included in the package
DEMO = "cstm_tiny.motions"  # also included
GENERAL = "tsm_resnet50.kinetics400"  # 400 everyday actions
OFFLINE = (
    f"Without a network, download {GENERAL} on another machine with `stzoo predict "
    "VIDEO`, and copy its cache (HF_HOME). Or choose another model with --model. "
    f"`--model {MODEL}` is included in stzoo, but recognises only rendered motions."
)


class Known(click.ParamType):
    """A key of a dict in a module that is imported only when it is needed."""

    name = "name"

    def __init__(self, module, names):
        self.module, self.names = module, names

    def convert(self, value, param, ctx):
        known = getattr(import_module(self.module), self.names)
        if value not in known:
            self.fail(f"{value!r} is not one of {', '.join(map(repr, known))}.")
        return value

    def shell_complete(self, ctx, param, incomplete):
        known = getattr(import_module(self.module), self.names)
        names = [name for name in known if name.startswith(incomplete)]
        return [click.shell_completion.CompletionItem(name) for name in names]


def check_views(context, option, views):
    from stzoo.data.sampling import parse_views

    try:
        parse_views(views)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return views


def check_shard(context, option, shard):
    """Converts "3/16" to (2, 16)."""
    number, slash, count = shard.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise click.BadParameter(
            f'expected a shard and the number of shards, such as "3/16". '
            f"Received: {shard!r}."
        )
    if not 1 <= int(number) <= int(count):
        raise click.BadParameter(
            f"the shard must be from 1/{count} to {count}/{count}. Received: {shard!r}."
        )
    return int(number) - 1, int(count)


def options(*options):
    """Combines several options into one decorator."""

    def decorate(command):
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


model = partial(
    click.option,
    "--model",
    "name",
    help="NAME.TAG, a folder, or hf://organisation/repository@revision.",
)
views = click.option(
    "--views",
    default="1x1",
    show_default=True,
    callback=check_views,
    help="Clips x crops to average. The papers use 10x3.",
)
engine = click.option(
    "--engine",
    default="local",
    show_default=True,
    type=click.Choice(("local", "ray")),
    help="ray: use the cluster at RAY_ADDRESS, or start one on this machine.",
)
threshold = click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Minimum probability. Default: 0, or that of each class for several labels.",
)
out = partial(click.option, "--out", type=click.Path(file_okay=False, path_type=Path))
num_workers = click.option(
    "--num-workers",
    default=4,
    show_default=True,
    type=click.IntRange(1),
    help="Number of decoding threads.",
)
reading = (
    click.option("--root", help="Folder of the videos. Default: folder of the list."),
    click.option(
        "--format",
        type=Known("stzoo.data.annotations", "READERS"),
        help="Format of the list. Default: detected.",
    ),
    click.option("--label", help="Column of the class, if the list has several."),
    click.option("--split", help="Split to read, if the list has several."),
    click.option("--skip", is_flag=True, help="Skip bad entries of the data."),
    click.option(
        "--multi-label/--single-label",
        default=None,
        help="Whether a video can have several labels. Default: detected.",
    ),
    num_workers,
)
decoder = click.option(
    "--decoder",
    default="av",
    show_default=True,
    type=click.Choice(("av", "torchcodec", "torchcodec:cuda", "tensorflow-io")),
    help="Library that decodes videos. Only av is installed with stzoo.",
)
sample_fps = click.option(
    "--sample-fps",
    type=click.FloatRange(0, min_open=True),
    help="Resample videos to this number of frames per second.",
)
data = options(click.argument("source", metavar="DATA"), *reading)


def data_of(chosen):
    """Returns the arguments of `datasets.read` from those of a command."""
    names = ("source", "root", "format", "label", "split", "multi_label")
    return {name: chosen[name] for name in names}


def pop_reading(chosen):
    """Removes the options of `Reading` from a dict, and returns the record."""
    from stzoo.data.reading import Reading

    names = ("num_workers", "sample_fps", "decoder")
    rest = {name: chosen.pop(name) for name in names if name in chosen}
    return Reading(skip=chosen["skip"], **rest)


def load_model(name, advice="", **options):
    """Loads a model by its name. If the download fails, the error ends in `advice`."""
    import stzoo

    try:
        if name.startswith("hf://") or Path(name).is_dir():
            return stzoo.load(name, **options)
        if "." not in name:  # it would have random weights
            tags = ", ".join(w.name for w in stzoo.list_models(f"{name}.*", True))
            raise ValueError(
                f"{name!r} has no tag for the weights. Available weights: "
                f"{tags or 'none'}."
            )
        return stzoo.create(name, **options)
    except ConnectionError as error:
        raise click.ClickException(f"{error} {advice}".strip()) from None
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
