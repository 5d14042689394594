"""The command that measures how fast this machine runs a model."""

import json
import os
from pathlib import Path

import click

from stzoo.cli import options, terminal

COLUMNS = {  # of a row, and how they are printed
    "clips": ("clips", "{:d}"),
    "ms_per_clip": ("ms/clip", "{:.1f}"),
    "best_ms_per_clip": ("best ms", "{:.1f}"),
    "clips_per_s": ("clips/s", "{:.1f}"),
    "first_answer_s": ("first answer, s", "{:.1f}"),
    "peak_mb": ("memory, MB", "{:.0f}"),
}


@click.command()
@click.argument("name", metavar="MODEL")
@click.option(
    "--only",
    multiple=True,
    type=options.Known("stzoo.deploy.benchmark", "NAMES"),
    help="A backend or a runtime; several are allowed. Default: all.",
)
@click.option(
    "--precision",
    multiple=True,
    type=click.Choice(("float16", "int8")),
    help="Of the exports, beside float32.",
)
@click.option(
    "--batch",
    default=8,
    show_default=True,
    type=click.IntRange(1),
    help="Clips of a call. One clip is measured too.",
)
@click.option("--threads", type=click.IntRange(1), help="Cores. Default: all. Linux.")
@click.option(
    "--seconds",
    default=3.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Time to measure each row, after the start of its process.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one object of JSON.")
def benchmark(name, only, precision, batch, threads, seconds, as_json):
    """Measure how fast this machine runs MODEL.

    MODEL is NAME.TAG, NAME for random weights, a folder, also of an export, or
    hf://organisation/repository@revision. Each installed backend runs the model and its
    fused form. Each installed runtime runs an export of it, which is made in a
    temporary folder and deleted. Each of them has a process of its own.

    The time of a clip is the median of all calls, and the best of them is beside it.
    The first answer is that of a new process, with its imports. The memory is the peak
    of the process. int8 is calibrated on random clips, which is enough for its speed.
    """
    from stzoo.deploy import benchmark as work

    with terminal.one_line(), terminal.progress("Measuring") as track:
        model = _model(name)
        rows = work.benchmark(model, only, precision, batch, seconds, threads, track)
    about = {
        "model": model.stzoo.name,
        "clip": model.stzoo.clip.shape,
        "processor": work.processor(),
        "threads": threads or _cores(),
    }
    if as_json:
        click.echo(json.dumps(about | {"rows": rows}, ensure_ascii=False))
    else:
        _show(about, rows)


def _model(name):
    """Loads a model. Without a tag, its weights are random."""
    if "." in name or Path(name).is_dir() or name.startswith("hf://"):
        return options.load_model(name)
    import stzoo

    return stzoo.create(name)


def _cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _show(about, rows):
    """Prints the table of the rows, and then what could not be measured."""
    from rich.table import Table

    shape = "x".join(map(str, about["clip"]))
    click.echo(f"{about['model']}, clips of {shape}")
    click.echo(f"{about['processor']}, cores: {about['threads']}\n")
    table = Table(box=None, pad_edge=False)
    for title in ("runs on", "form"):
        table.add_column(title)
    for title, _ in COLUMNS.values():
        table.add_column(title, justify="right")
    for row in rows:
        if "problem" not in row:
            cells = [_cell(row[key], form) for key, (_, form) in COLUMNS.items()]
            table.add_row(row["runs_on"], row["form"], *cells)
    terminal.print_table(table)
    for row in rows:
        if "problem" in row:
            click.echo(f"{row['runs_on']} {row['form']}: {row['problem']}")


def _cell(value, form):
    return "-" if value is None else form.format(value)
