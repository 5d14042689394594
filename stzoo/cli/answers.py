"""The commands that list models and answer for single videos."""

import dataclasses
import glob
import json
import os
import sys
from contextlib import contextmanager

import click

from stzoo.cli import options
from stzoo.data import files


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="List weights instead of models.")
@click.option(
    "--all", "unavailable", is_flag=True, help="List unavailable weights too."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_models(pattern, pretrained, unavailable, as_json):
    """List the models whose name fits PATTERN, such as "cost*".

    With --pretrained, list the weights that can be had: data set and number of classes,
    millions of parameters, GFLOPs for one view, top-1 accuracy in percent as reported
    and as measured, megabytes to download, and where they come from. --all adds those
    that cannot be had, and says what would make them.
    """
    import stzoo

    if not (pretrained or unavailable):
        for name in stzoo.list_models(pattern):
            click.echo(json.dumps({"name": name}) if as_json else name)
        return
    found = stzoo.list_models(pattern, True, unavailable)
    if as_json:
        for weights in found:
            click.echo(json.dumps(dataclasses.asdict(weights), ensure_ascii=False))
    elif found:
        options.show_weights(found)


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option(
    "--model",
    "name",
    default=options.GENERAL,
    show_default=True,
    help="NAME.TAG, a folder, or hf://organisation/repository@revision.",
)
@click.option("--top", default=5, show_default=True, type=click.IntRange(1))
@options.views
@options.sample_fps
@click.option("--num-workers", default=4, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def predict(videos, name, top, views, sample_fps, num_workers, as_json):
    """Say what happens in each VIDEO.

    VIDEO is a file, a URL, a folder of videos (those in folders within it too), a
    folder of images that are the frames of one video, or a pattern such as "*.mp4".

    A file that cannot be read is reported and the others go on; the exit code is then
    1.
    """
    from stzoo.data.reading import Reading
    from stzoo.inference.predict import predict_videos

    with options.one_line():
        reading = Reading(views, num_workers, sample_fps=sample_fps)
        videos = _found(videos)
        model = options.load_model(
            name, advice=options.OFFLINE if name == options.GENERAL else ""
        )
        failed = 0
        with _counted(videos) as counted:
            answers = predict_videos(model, videos, top, reading)
            for video, (found, error) in zip(counted, answers, strict=True):
                failed += bool(error)
                _tell(video, model.stzoo.name, found, error, as_json)
    sys.exit(failed > 0)


def _found(videos):
    """All videos that were asked for, those of folders and patterns too."""
    from stzoo.data import datasets

    found = []
    for video in videos:
        if not files.is_url(video) and not os.path.lexists(video):
            found += sorted(glob.glob(video, recursive=True)) or [video]
        elif not files.is_video(video) and datasets.videos_within(video):
            found += datasets.videos_within(video)
        else:
            found.append(video)
    return found


def _tell(video, name, found, error, as_json):
    """Prints the answers for a video, or why there are none."""
    if error:
        click.secho(error, fg="red", err=True)
    if as_json:
        answer = {"error": error} if error else {"answers": options.rows(found)}
        line = {"video": video, "model": name, **answer}
        click.echo(json.dumps(line, ensure_ascii=False))
    elif found:
        options.show(f"{video} ({name})", found)


@contextmanager
def _counted(videos):
    """The videos, with a progress bar if there are several."""
    if len(videos) < 2:
        yield videos
    else:
        with options.progress("Videos") as track:
            yield track(videos)


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
    model = options.load_model(options.DEMO)
    answers = stzoo.predict(model, out / "demo.mp4", views="3x1")
    with Video(out / "demo.mp4") as video:
        seen = clip_views(video, model.stzoo.clip)[0]
    title = f"{options.DEMO} sees a video of: {shape}, {motion} (seed {seed})"
    filmstrip(seen, answers, out / "demo.png", title)
    options.show(title, answers)
    best = answers[0][0]
    verdict = "That is right." if best == motion else f"That is wrong: it is {motion}."
    click.echo(f"Rendered was {shape}, {motion}. The model answers {best}. {verdict}")
    click.echo(f"Saved {out / 'demo.mp4'} and {out / 'demo.png'}.")
