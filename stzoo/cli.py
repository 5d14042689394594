"""The `stzoo` command."""

import dataclasses
import json
import logging
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
import keras
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

import stzoo
from stzoo.data import datasets, motions
from stzoo.data.annotations import READERS
from stzoo.data.reading import Reading
from stzoo.data.sampling import parse_views
from stzoo.data.transforms import clip_views
from stzoo.data.video import Video
from stzoo.explain import reports
from stzoo.inference.evaluate import evaluate as measure
from stzoo.inference.extract import extract as write_features
from stzoo.inference.parts import ENGINES
from stzoo.training.devices import distribute
from stzoo.training.finetune import finetune as fit
from stzoo.training.recipes import RECIPES
from stzoo.visualize.filmstrip import filmstrip

MODEL = "cost_tiny.motions"  # comes with the package


def _check_views(context, option, views):
    try:
        parse_views(views)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return views


def _check_shard(context, option, shard):
    """From "3/16" to (2, 16)."""
    number, slash, count = shard.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise click.BadParameter(f'it is written as "3/16". Received: {shard!r}.')
    if not 1 <= int(number) <= int(count):
        raise click.BadParameter(f"shards go from 1/{count} to {count}/{count}.")
    return int(number) - 1, int(count)


def _options(*options):
    """Several options as one decorator."""

    def decorate(command):
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_views = click.option(
    "--views",
    default="1x1",
    show_default=True,
    callback=_check_views,
    help="Clips x crops; the papers average 10x3.",
)
_engine = click.option(
    "--engine",
    default="local",
    show_default=True,
    type=click.Choice(ENGINES),
    help="ray: on the cluster in RAY_ADDRESS, or one that is started here.",
)
_out = partial(click.option, "--out", type=click.Path(file_okay=False, path_type=Path))
_reading = (
    click.option("--root", help="Folder of the videos; that of the list by default."),
    click.option(
        "--format",
        type=click.Choice(READERS),
        help="Of the list; by default what it looks like.",
    ),
    click.option("--label", help="Column of the class, if a list has several."),
    click.option("--split", help="Part of a list that has several."),
    click.option("--skip", is_flag=True, help="Leave out what is wrong in the data."),
    click.option("--workers", default=4, show_default=True, type=click.IntRange(1)),
)
_data = _options(click.argument("source", metavar="DATA"), *_reading)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stzoo")
def main():
    """Video action recognition with the models of stzoo."""
    # A byte of a file name that is not UTF-8 is written as "\\udce9", as in JSON.
    sys.stdout.reconfigure(errors="backslashreplace")


@main.command("list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="List weights instead of models.")
def list_models(pattern, pretrained):
    """List the models whose name fits PATTERN, such as "cost*"."""
    for name in stzoo.list_models(pattern, pretrained):
        click.echo(name)


@main.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option(
    "--model",
    "name",
    default=MODEL,
    show_default=True,
    help="NAME.TAG, a folder, or hf://organisation/repository@revision.",
)
@click.option("--top", default=5, show_default=True, type=click.IntRange(1))
@_views
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def predict(videos, name, top, views, as_json):
    """Say what happens in each VIDEO.

    A file that cannot be read is reported and the others go on; the exit code is then
    1.
    """
    model = _model(name)
    err = Console(stderr=True)
    failed = 0
    with Progress(console=err, transient=True, disable=len(videos) < 2) as progress:
        for video in progress.track(videos, description="Videos"):
            try:
                answers = stzoo.predict(model, video, top, views)
            except (ImportError, OSError, ValueError) as error:
                failed += 1
                err.print(Text(str(error), "red"), soft_wrap=True)
                answer = {"video": video, "error": str(error)}
            else:
                answer = {
                    "video": video,
                    "answers": [
                        {"label": label, "probability": probability}
                        for label, probability in answers
                    ],
                }
            if as_json:
                click.echo(json.dumps(answer, ensure_ascii=False))
            elif "answers" in answer:
                _show(video, answers)
    sys.exit(failed > 0)


@main.command()
@_out(default=".", show_default=True, help="Folder for demo.mp4 and demo.png.")
@click.option("--seed", type=click.IntRange(0), help="Of the video; random by default.")
def demo(out, seed):
    """Render a video that no model has seen, and say what moves in it, and how."""
    import numpy as np

    seed = np.random.SeedSequence().entropy % 10**9 if seed is None else seed
    frames, motion, shape = motions.render([seed, 2**32 - 1])
    out.mkdir(parents=True, exist_ok=True)
    motions.save(out / "demo.mp4", frames)
    model = _model(MODEL)
    answers = stzoo.predict(model, out / "demo.mp4")
    with Video(out / "demo.mp4") as video:
        seen = clip_views(video, model.stzoo.clip)[0]
    title = f"{MODEL} sees a video of: {shape}, {motion} (seed {seed})"
    filmstrip(seen, answers, out / "demo.png", title)
    _show(title, answers)
    click.echo(f"Saved {out / 'demo.mp4'} and {out / 'demo.png'}.")


@main.command()
@_data
@click.option(
    "--model",
    "name",
    required=True,
    help="Weights to start from: NAME.TAG, a folder, or hf://....",
)
@click.option("--recipe", required=True, type=click.Choice(RECIPES))
@_out(required=True, help="Folder of the model; a run that died goes on there.")
@click.option("--validation", help="Other videos, to choose the best epoch by.")
@click.option("--validation-split", help="Or another part of the same list.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--batch", type=click.IntRange(1), help="The rate goes with it.")
@click.option("--patience", type=click.IntRange(1), help="Epochs without a better one.")
@click.option("--no-flip", is_flag=True, help="Mirror no clips.")
@click.option(
    "--mirror-pairs",
    type=click.Path(exists=True, dir_okay=False),
    help="File with two classes a line that are mirror images of each other.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(("float32", "mixed_bfloat16", "mixed_float16")),
)
@click.option("--tensorboard", is_flag=True, help="Log for TensorBoard as well.")
@click.option("--distributed", is_flag=True, help="Share batches among all devices.")
def finetune(
    *,
    name,
    recipe,
    out,
    validation,
    validation_split,
    epochs,
    batch,
    patience,
    no_flip,
    mirror_pairs,
    seed,
    precision,
    tensorboard,
    distributed,
    workers,
    skip,
    **data,
):
    """Fit a model to the classes of DATA.

    DATA is a folder with a folder of videos for each class, a list (path and class in
    a line), or the list of a published data set. The folder that comes out is a --model
    for the other commands, with log.csv and curves.png beside it.

    Half of the clips are mirrored. Where the names of two classes differ in a side
    only, such as turn_left and turn_right, a mirrored clip gets the label of the other
    one; a class with a side and no such pair is not mirrored. What was found is
    printed. Pairs that the names do not tell go into a file, see --mirror-pairs.

    --distributed (JAX only) takes all devices of this machine. For several machines,
    run the same command on each, with KERAS_DISTRIBUTION_JOB_ADDRESSES (host:port of
    the first), KERAS_DISTRIBUTION_NUM_PROCESSES, and KERAS_DISTRIBUTION_PROCESS_ID
    from 0; they share the folder --out.
    """
    if no_flip and mirror_pairs:
        raise click.UsageError("--mirror-pairs has no effect with --no-flip.")
    chosen = RECIPES[recipe].resized(epochs, batch)
    if no_flip:
        chosen = dataclasses.replace(chosen, flip=False)
    with _one_line(), _log_shown():
        train = datasets.read(**data, skip=skip)
        other = None
        if validation or validation_split:
            data |= {"source": validation or data["source"], "split": validation_split}
            other = datasets.read(**data, skip=skip, classes=train.classes)
        keras.config.set_dtype_policy(precision)
        keras.utils.set_random_seed(seed)
        if distributed:
            distribute()
        model = _model(name, classes=len(train.classes) or None)
        history = fit(
            model,
            train,
            out,
            chosen,
            other,
            seed,
            patience,
            tensorboard,
            Reading(num_workers=workers, skip=skip),
            mirror_pairs=mirror_pairs or (),
        )
    last = ", ".join(f"{key} {value:.4g}" for key, value in history[-1].items())
    click.echo(f"Epoch {len(history)}: {last}.\nSaved {out}.")


@main.command()
@_data
@click.option("--model", "name", default=MODEL, show_default=True)
@_views
@_out(help="Folder for evaluation.json, classes.csv and confusion.png.")
@_engine
def evaluate(*, name, views, out, engine, workers, skip, **data):
    """Measure a model on DATA: accuracy in all, by class, and what is mistaken.

    With --out, an evaluation that was interrupted goes on where it was.
    """
    with (
        _one_line(),
        _log_shown(),
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        model = _model(name)
        videos = datasets.read(**data, skip=skip, classes=model.stzoo.labels)
        track = partial(bar.track, description="Videos")
        parts = out and out / "parts"
        found = measure(model, videos, views, parts, workers, track, engine)
        if out:
            found.save(out)
    _show_evaluation(found)


@main.command()
@_data
@click.option("--model", "name", default=MODEL, show_default=True)
@click.option("--layer", default="avgpool", show_default=True)
@_views
@_out(required=True, help="Folder for the parts.")
@click.option(
    "--shard",
    default="1/1",
    callback=_check_shard,
    help="Which share is done here: 3/16 is the third of sixteen.",
)
@click.option("--parquet", is_flag=True, help="Parquet instead of npz.")
@_engine
def extract(*, name, layer, views, out, shard, parquet, engine, workers, skip, **data):
    """Write the features of the videos of DATA, in parts of 256 videos.

    An extraction that was interrupted goes on where it was.
    """
    with (
        _one_line(),
        _log_shown(),
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        model = _model(name)
        videos = datasets.read(**data, skip=skip)
        track = partial(bar.track, description="Parts")
        kind = "parquet" if parquet else "npz"
        manifest = write_features(
            *(model, videos, out, layer, views, shard, kind, workers, track, engine)
        )
    if manifest is None:
        return click.echo(f"This shard is done; others of {out} are not.")
    failed = len(manifest["failed"])
    click.echo(f"Saved {out}: {manifest['videos']} videos, {failed} not decoded.")


@main.command()
@_options(click.argument("source", required=False, metavar="[VIDEO|DATA]"), *_reading)
@click.option("--model", "name", default=MODEL, show_default=True)
@_out(default=".", show_default=True, help="Folder for pictures, table and film.")
@click.option("--layer", help="VIDEO: whose maps are shown. DATA: whose channels.")
@click.option("--class", "answer", help="VIDEO: the class; by default the likeliest.")
def explain(*, source, name, out, layer, answer, workers, **data):
    """Show what a model sees in a VIDEO, or what it leans on in DATA.

    For a VIDEO (a file, or a folder of frames): a filmstrip and a film of what speaks
    for a class. For DATA: how much each operator leans on space and on time, by layer
    and by class, as a table and pictures. Without either: the same from the weights,
    if they tell it (CoST of variant "a").
    """
    video = source is not None and reports.is_video(source)
    given = [f"--{option}" for option, value in data.items() if value]
    received = f"Received: {source or 'neither'}."
    if given and (video or source is None):
        raise click.UsageError(f"{given[0]} is for DATA. {received}")
    if answer and not video:
        raise click.UsageError(f"--class is for a VIDEO. {received}")
    with _one_line(), Progress(console=Console(stderr=True), transient=True) as bar:
        model = _model(name)
        if video:
            title, answers, paths = reports.of_video(model, out, source, layer, answer)
        else:
            track = partial(bar.track, description="Batches")
            found, paths = reports.of_network(
                model, out, source, layer, workers, track, **data
            )
    if video:
        _show(title, answers)
    else:
        click.echo(found)
    click.echo(f"Saved {', '.join(map(str, paths))}.")


@contextmanager
def _one_line():
    """Errors of what the user gave, without a traceback."""
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _log_shown():
    """Lines of the log on stderr: how the data were understood."""
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


def _model(name, **options):
    try:
        if name.startswith("hf://") or Path(name).is_dir():
            return stzoo.load(name, **options)
        if "." not in name:  # would be a model with random weights
            tags = ", ".join(stzoo.list_models(f"{name}.*", pretrained=True)) or "none"
            raise ValueError(f"{name!r} does not say which weights. Known: {tags}.")
        return stzoo.create(name, **options)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def _show(title, answers):
    table = Table("Class")
    table.add_column("Probability", justify="right")
    for label, probability in answers:
        table.add_row(Text(str(label)), f"{100 * probability:.1f} %")
    console = Console()
    console.print(Text(title, "bold"), soft_wrap=True)
    console.print(table)


def _show_evaluation(found):
    table = Table("Class")
    for title in ("Videos", "Accuracy", "Average precision"):
        table.add_column(title, justify="right")
    table.add_column("Most often taken for")
    for row in found.classes:
        shares = (row["accuracy"], row["average_precision"])
        table.add_row(
            Text(row["label"]),
            str(row["videos"]),
            *("-" if share is None else f"{100 * share:.1f} %" for share in shares),
            Text(row["mistaken_for"] or "-"),
        )
    console = Console()
    console.print(table)
    for name, share in (
        ("Top-1", found.top1),
        ("Top-5", found.top5),
        ("Mean class accuracy", found.mean_class_accuracy),
        ("Mean average precision", found.mean_average_precision),
    ):
        console.print(f"{name}: {100 * share:.2f} %")
    console.print(
        f"{found.model}, {found.videos} videos, views {found.views}, {found.decoder}."
    )
    for failed in found.failed:
        text = Text(f"Not decoded: {failed['error']}", "red")
        Console(stderr=True).print(text, soft_wrap=True)
