"""The commands `list`, `predict` and `demo`."""

import dataclasses
import glob
import json
import os
import sys
from contextlib import contextmanager

import click

from stzoo.cli import options, terminal
from stzoo.data import files


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="List weights instead of models.")
@click.option("--all", "unavailable", is_flag=True, help="Include unavailable weights.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, one object per line."
)
def list_models(pattern, pretrained, unavailable, as_json):
    """List the models whose names match PATTERN, such as "cost*".

    With --pretrained, list the available weights: number of classes and data set,
    millions of parameters, GFLOPs for one view, reported and measured top-1 accuracy in
    percent, megabytes to download, and location. With --all, include weights that are
    not available, and show how to get them.
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
        terminal.show_weights(found)


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@options.model(default=options.GENERAL, show_default=True)
@click.option(
    "--top",
    type=click.IntRange(1),
    help="Number of classes to show. Default: 5, or all that reach their thresholds if "
    "there can be several labels.",
)
@options.threshold
@options.views
@options.sample_fps
@options.num_workers
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, one object per line."
)
def predict(videos, name, top, threshold, views, sample_fps, num_workers, as_json):
    """Predict the action in each VIDEO.

    VIDEO is a file, a URL, a folder of videos (including its subfolders), a folder with
    the frames of one video as images, or a pattern such as "*.mp4". If no class reaches
    its threshold, the answer is "none of the classes".

    If a file cannot be read, an error is printed and the next file follows. The exit
    code is then 1.
    """
    from stzoo.data.reading import Reading
    from stzoo.inference.predict import predict_videos

    with terminal.one_line():
        reading = Reading(num_workers, sample_fps=sample_fps)
        videos = _found(videos)
        model = options.load_model(
            name, advice=options.OFFLINE if name == options.GENERAL else ""
        )
        failed = 0
        with _counted(videos) as counted:
            answers = predict_videos(model, videos, top, views, reading, threshold)
            for video, (found, error) in zip(counted, answers, strict=True):
                failed += bool(error)
                _tell(video, model.stzoo.name, found, error, as_json)
    sys.exit(failed > 0)


def _found(videos):
    """Returns all requested videos, including those of folders and patterns."""
    from stzoo.data import folders

    found = []
    for video in videos:
        if not files.is_url(video) and not os.path.lexists(video):
            found += sorted(glob.glob(video, recursive=True)) or [video]
        elif not files.is_video(video) and folders.videos_within(video):
            found += folders.videos_within(video)
        else:
            found.append(video)
    return found


def _tell(video, name, found, error, as_json):
    """Prints the predictions for a video, or the error."""
    if error:
        click.secho(error, fg="red", err=True)
    if as_json:
        answer = {"error": error} if error else {"answers": terminal.rows(found)}
        line = {"video": video, "model": name, **answer}
        click.echo(json.dumps(line, ensure_ascii=False))
    elif not error:
        terminal.show(f"{video} ({name})", found)


@contextmanager
def _counted(videos):
    """Returns the videos, with a progress bar if there are several."""
    if len(videos) < 2:
        yield videos
    else:
        with terminal.progress("Videos") as track:
            yield track(videos)


@click.command()
@options.out(default=".", show_default=True, help="Folder for demo.mp4 and demo.png.")
@click.option(
    "--seed", type=click.IntRange(0), help="Seed of the video. Default: random."
)
def demo(out, seed):
    """Render a new video of a moving shape, and predict its motion."""
    import numpy as np

    import stzoo
    from stzoo.data import motions
    from stzoo.data.video import Video
    from stzoo.data.views import clip_views
    from stzoo.visualize.filmstrip import filmstrip

    seed = np.random.SeedSequence().entropy % 10**9 if seed is None else seed
    frames, motion, shape = motions.render([seed, 2**32 - 1])
    model = options.load_model(options.DEMO)
    out.mkdir(parents=True, exist_ok=True)
    motions.save(out / "demo.mp4", frames)
    answers = stzoo.predict(model, out / "demo.mp4", views="3x1")
    with Video(out / "demo.mp4") as video:
        seen = clip_views(video, model.stzoo.clip)[0]
    title = f"{options.DEMO}, rendered video: {shape}, {motion} (seed {seed})"
    filmstrip(seen, answers, out / "demo.png", title)
    terminal.show(title, answers)
    best = answers[0][0]
    verdict = "correct" if best == motion else "wrong"
    click.echo(f"Rendered video: {shape}, {motion}. Prediction: {best} ({verdict}).")
    click.echo(f"Saved {out / 'demo.mp4'} and {out / 'demo.png'}.")
