"""The commands that list models and answer for single videos."""

import json
import sys
from contextlib import contextmanager

import click

from stzoo.cli import options


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="List weights instead of models.")
def list_models(pattern, pretrained):
    """List the models whose name fits PATTERN, such as "cost*"."""
    import stzoo

    for name in stzoo.list_models(pattern, pretrained):
        click.echo(name)


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option(
    "--model",
    "name",
    default=options.MODEL,
    show_default=True,
    help="NAME.TAG, a folder, or hf://organisation/repository@revision.",
)
@click.option("--top", default=5, show_default=True, type=click.IntRange(1))
@options.views
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def predict(videos, name, top, views, as_json):
    """Say what happens in each VIDEO.

    A file that cannot be read is reported and the others go on; the exit code is then
    1.
    """
    import stzoo

    model = options.load_model(name)
    failed = 0
    with _counted(videos) as videos:
        for video in videos:
            try:
                answers = stzoo.predict(model, video, top, views)
            except (ImportError, OSError, ValueError) as error:
                failed += 1
                click.secho(str(error), fg="red", err=True)
                answer = {"video": video, "error": str(error)}
            else:
                answer = {"video": video, "answers": _rows(answers)}
            if as_json:
                click.echo(json.dumps(answer, ensure_ascii=False))
            elif "answers" in answer:
                options.show(video, answers)
    sys.exit(failed > 0)


@contextmanager
def _counted(videos):
    """The videos, with a progress bar if there are several."""
    if len(videos) < 2:
        yield videos
    else:
        with options.progress("Videos") as track:
            yield track(videos)


def _rows(answers):
    return [
        {"label": label, "probability": probability} for label, probability in answers
    ]


@click.command()
@options.out(default=".", show_default=True, help="Folder for demo.mp4 and demo.png.")
@click.option("--seed", type=click.IntRange(0), help="Of the video; random by default.")
def demo(out, seed):
    """Render a video that no model has seen, and say what moves in it, and how."""
    import numpy as np

    import stzoo
    from stzoo.data import motions
    from stzoo.data.transforms import clip_views
    from stzoo.data.video import Video
    from stzoo.visualize.filmstrip import filmstrip

    seed = np.random.SeedSequence().entropy % 10**9 if seed is None else seed
    frames, motion, shape = motions.render([seed, 2**32 - 1])
    out.mkdir(parents=True, exist_ok=True)
    motions.save(out / "demo.mp4", frames)
    model = options.load_model(options.MODEL)
    answers = stzoo.predict(model, out / "demo.mp4")
    with Video(out / "demo.mp4") as video:
        seen = clip_views(video, model.stzoo.clip)[0]
    title = f"{options.MODEL} sees a video of: {shape}, {motion} (seed {seed})"
    filmstrip(seen, answers, out / "demo.png", title)
    options.show(title, answers)
    click.echo(f"Saved {out / 'demo.mp4'} and {out / 'demo.png'}.")
