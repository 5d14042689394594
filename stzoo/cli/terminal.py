"""What the commands print: answers, tables, progress, the log, and errors."""

import logging
import re
import signal
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from stzoo import _environment

NONE = "none of the classes"
INTERRUPTED = 130  # exit code after Ctrl-C, as in a shell


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
    except BrokenPipeError:  # of `stzoo ... | head`, which click ends
        raise
    except (ImportError, OSError, ValueError) as error:
        raise click.ClickException(message_of(error)) from None


def end_like_ctrl_c():
    """Lets the signals that end a process do what Ctrl-C does, unless it ignores them.

    So files are written, or deleted, also if a service manager ends the command.
    """
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def stop(kept=""):
    """Ends a command after Ctrl-C, and says what was kept."""
    click.echo(f"\nStopped. {kept}".rstrip(), err=True)
    sys.exit(INTERRUPTED)


@contextmanager
def resumable(folder):
    """On Ctrl-C, says whether the results so far are in `folder`, or `None`."""
    try:
        yield
    except KeyboardInterrupt:
        if folder is None or not Path(folder).is_dir():
            stop("Nothing was saved.")
        stop(f"What is complete is in {folder}. The same command resumes.")


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
    """Returns a function that yields items and shows a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    hidden = not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as bar:
        yield partial(bar.track, description=description)


def show_weights(found):
    """Prints a table of `stzoo.weights.catalogue.Weights`."""
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
    print_table(table)


def print_table(table):
    """Prints a table. In a pipe, its lines are not wrapped."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
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
    """Prints the answers for a video."""
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
