"""The `stzoo` command."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

import stzoo
from stzoo.data import motions
from stzoo.data.filmstrip import filmstrip
from stzoo.data.sampling import parse_views
from stzoo.data.transforms import clip_views
from stzoo.data.video import Video

MODEL = "cost_tiny.motions"  # comes with the package


def _check_views(context, option, views):
    try:
        parse_views(views)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return views


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stzoo")
def main():
    """Video action recognition with the models of stzoo."""


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
@click.option(
    "--views",
    default="1x1",
    show_default=True,
    callback=_check_views,
    help="Clips x crops; the papers average 10x3.",
)
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
@click.option(
    "--out",
    default=".",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for demo.mp4 and demo.png.",
)
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


def _model(name):
    try:
        if name.startswith("hf://") or Path(name).is_dir():
            return stzoo.load(name)
        if "." not in name:  # would be a model with random weights
            tags = ", ".join(stzoo.list_models(f"{name}.*", pretrained=True)) or "none"
            raise ValueError(f"{name!r} does not say which weights. Known: {tags}.")
        return stzoo.create(name)
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
