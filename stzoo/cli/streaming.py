"""The command `stzoo stream`."""

import csv
import json
import sys
from contextlib import closing
from pathlib import Path

import click

from stzoo.cli import options, terminal
from stzoo.data.files import without_secrets

FILE = click.Path(dir_okay=False, path_type=Path)
seconds = click.FloatRange(0, min_open=True)


@click.command()
@click.argument("source")
@click.option(
    "--model",
    "name",
    default=options.GENERAL,
    show_default=True,
    help="NAME.TAG, a folder, or hf://organisation/repository@revision.",
)
@click.option(
    "--every",
    default=1.0,
    show_default=True,
    type=seconds,
    help="Seconds between windows.",
)
@click.option("--span", type=seconds, help="Seconds of a window. Default: a clip.")
@options.views
@options.sample_fps
@click.option("--smooth", type=seconds, help="Seconds over which windows are averaged.")
@click.option(
    "--top",
    type=click.IntRange(1),
    help="Number of classes to show. Default: 1, or all for several labels.",
)
@options.threshold
@click.option(
    "--only",
    multiple=True,
    metavar="CLASS",
    help="Class to show. Can be repeated. Default: all.",
)
@click.option("--events", is_flag=True, help="Also list events, with start and end.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--csv", "csv_file", type=FILE, help="File for a table of the predictions."
)
@click.option("--srt", "srt_file", type=FILE, help="File for subtitles.")
@click.option(
    "--timeline", type=FILE, help="PNG file for a plot of the classes over time."
)
@click.option(
    "--overlay", type=FILE, help="MP4 file for the video with the predictions in it."
)
def stream(source, name, **kwargs):
    """Classify each moment of SOURCE.

    SOURCE is a video file of any length, a URL, a folder of images, a camera (0), or
    the address of a live stream (rtsp://...). Press Ctrl-C to end a stream. The files
    are then written for the part that was seen.
    """
    from stzoo.inference.events import check_classes

    _check_files(source, kwargs)
    terminal.end_like_ctrl_c()
    with terminal.one_line():
        model = options.load_model(
            name, advice=options.OFFLINE if name == options.GENERAL else ""
        )
        check_classes(kwargs["only"] or None, list(model.stzoo.class_names))
        if kwargs["top"] is None:
            kwargs["top"] = model.stzoo.classes if model.stzoo.multi_label else 1
        windows = _watch(model, source, kwargs)
        if windows:
            _write(windows, source, model.stzoo, kwargs)


def _check_files(source, kwargs):
    """Checks the options for files before the first window."""
    if kwargs["overlay"] and not Path(source).is_file():
        raise click.BadParameter(
            f"--overlay needs a video file. Received: {without_secrets(source)}.",
            param_hint="--overlay",
        )
    if kwargs["timeline"]:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            raise click.ClickException(
                '--timeline needs matplotlib: `pip install "stzoo[plots]"`.'
            ) from None
    for option in ("csv_file", "srt_file", "timeline", "overlay"):
        if kwargs[option] and not kwargs[option].absolute().parent.is_dir():
            folder = kwargs[option].parent
            raise click.ClickException(f"There is no folder {folder}. Create it first.")


def _watch(model, source, kwargs):
    """Prints each window. Returns the windows if a file needs them."""
    import stzoo

    files = ("events", "csv_file", "srt_file", "timeline", "overlay")
    is_kept = any(kwargs[option] for option in files)
    names = ("every", "span", "views", "smooth", "sample_fps", "threshold")
    found = stzoo.stream(
        model,
        source,
        top=len(model.stzoo.class_names),
        **{key: kwargs[key] for key in names},
    )
    windows, dropped = [], 0
    try:
        with closing(found):
            for window in found:
                _tell(window, kwargs)
                dropped += window.dropped
                if is_kept:
                    windows.append(window)
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
    if dropped:
        click.echo(
            f"{dropped} windows were dropped, because the model was too slow, or the "
            "source stood still. For a slow model, increase --every, or choose a "
            "smaller one.",
            err=True,
        )
    return windows


def chosen(window, top, only):
    """Returns the predictions of a window that are to be shown."""
    return [one for one in window.answers if not only or one[0] in only][:top]


def _tell(window, kwargs):
    """Prints the predictions for a window."""
    answers = chosen(window, kwargs["top"], kwargs["only"])
    if kwargs["as_json"]:
        line = {
            "start": round(window.start, 3),
            "end": round(window.end, 3),
            "answers": terminal.rows(answers),
            "lag": round(window.lag, 3),
            "dropped": window.dropped,
            "lost": round(window.lost, 3),
        }
        click.echo(json.dumps(line, ensure_ascii=False))
    elif answers or not kwargs["only"]:
        said = "  ".join(f"{label} {100 * share:.1f} %" for label, share in answers)
        said = said or terminal.NONE
        click.echo(f"{clock(window.start)} to {clock(window.end)}  {said}")
    sys.stdout.flush()


def clock(seconds):
    """Formats a time as h:mm:ss.d."""
    tenths = round(10 * seconds)
    minutes, tenths = divmod(tenths, 600)
    return f"{minutes // 60}:{minutes % 60:02}:{tenths // 10:02}.{tenths % 10}"


def _write(windows, source, config, kwargs):
    """Writes the requested files."""
    from stzoo.inference import events
    from stzoo.inference.predict import thresholds_of

    only, threshold = kwargs["only"] or None, kwargs["threshold"]
    if threshold is None:
        threshold = thresholds_of(config)
    if kwargs["events"]:
        high = thresholds_of(config) if config.multi_label else 0.5
        _tell_events(events.find_events(windows, high, only=only), kwargs["as_json"])
    if kwargs["csv_file"]:
        with kwargs["csv_file"].open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["start", "end", "label", "probability"])
            for window in windows:
                for answer in chosen(window, kwargs["top"], only):
                    writer.writerow(
                        [f"{window.start:.3f}", f"{window.end:.3f}", *answer]
                    )
    if kwargs["srt_file"]:
        text = events.srt(events.captions(windows, threshold, only))
        kwargs["srt_file"].write_text(text, encoding="utf-8")
    spans = events.spans(windows)
    if kwargs["timeline"]:
        from stzoo.visualize.timeline import timeline

        rows = [window.probabilities for window in windows]
        kwargs["timeline"].write_bytes(timeline(spans, rows, windows[0].labels))
    if kwargs["overlay"]:
        from stzoo.visualize.overlay import overlay

        top = max(kwargs["top"], 3)
        answers = [chosen(window, top, only) for window in windows]
        overlay(source, kwargs["overlay"], spans, answers)


def _tell_events(found, as_json):
    for event in found:
        if as_json:
            line = {"event": event.label, "start": round(event.start, 3)}
            line |= {"end": round(event.end, 3), "score": round(event.score, 4)}
            click.echo(json.dumps(line, ensure_ascii=False))
        else:
            place = f"{clock(event.start)} to {clock(event.end)}"
            click.echo(f"Event: {place}  {event.label} {100 * event.score:.1f} %")
