"""Shared parts of the commands: options, models, errors, tables."""

import logging
import re
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

import click

from stzoo import _environment

MODEL = "cost_tiny.motions"  # included in the package
DEMO = "cstm_tiny.motions"  # also included
GENERAL = "tsm_resnet50.kinetics400"  # 400 everyday actions
NONE = "none of the classes"
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


def message_of(error):
    """The message of an error. Keras only says that its default backend is missing."""
    module = getattr(error, "name", None) or ""
    if module.partition(".")[0] in _environment.SUPPORTED:
        try:
            _environment.check()
        except ImportError as missing:
            return str(missing)
    return str(error)


@contextmanager
def one_line():
    """Shows errors in the input of the user without a traceback."""
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        raise click.ClickException(message_of(error)) from None


@contextmanager
def log_shown():
    """Shows log messages on stderr, such as the summary of the data."""
    logger, handler = logging.getLogger("stzoo"), logging.Handler()
    handler.emit = lambda record: click.echo(record.getMessage(), err=True)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextmanager
def log_hidden(hidden=True):
    """Hides log messages below errors, if `hidden`."""
    logger = logging.getLogger("stzoo")
    level = logger.level
    if hidden:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def progress(description):
    """Returns a function that yields items and shows a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        yield partial(bar.track, description=description)


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


def show_weights(found):
    """Prints a table of `stzoo.weights.catalogue.Weights`."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name, justify in (
        *(("weights", "left"), ("classes", "left"), ("params", "right")),
        *(("GFLOPs", "right"), ("reported", "left"), ("measured", "left")),
        *(("download", "right"), ("from", "left")),
    ):
        table.add_column(name, justify=justify, overflow="fold")
    for one in found:
        table.add_row(*map(Text, weights_row(one)))
    console = Console()
    if not console.is_terminal:  # do not wrap lines in a pipe
        console.width = 1000
    console.print(table)


def weights_row(one):
    """Returns the cells of the row for a set of weights."""
    views = one.measured.get("views")
    needs = f", needs {one.needs}" if one.needs else ""
    host = re.match(r"https?://([^/]+)", one.where)
    return (
        one.name,
        f"{one.classes} {one.dataset}".strip(),
        f"{one.parameters / 1e6:.1f} M",
        f"{one.gflops:.1f}",
        _accuracy(one.reported, one.reported.get("protocol")),
        _accuracy(one.measured, f"{views} views" if views else None),
        f"{one.download / 1e6:.0f} MB" if one.download else "-",
        f"{host[1] if host else one.where}{needs}",
    )


def _accuracy(figures, protocol):
    if "top1" not in figures:
        return "-"
    return f"{figures['top1']:.1f}" + (f" ({protocol})" if protocol else "")


def show(title, answers):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not answers:
        Console().print(Text(f"{title}: {NONE}"), soft_wrap=True)
        return
    table = Table("Class")
    table.add_column("Probability", justify="right")
    for label, probability in answers:
        table.add_row(Text(str(label)), f"{100 * probability:.1f} %")
    console = Console()
    console.print(Text(title, "bold"), soft_wrap=True)
    console.print(table)


def rows(answers):
    """Answers as they are written in JSON."""
    return [
        {"label": label, "probability": probability} for label, probability in answers
    ]
