"""What the page of `stzoo app` shows of a video. It does not depend on Gradio."""

import gc
import math
import threading
from contextlib import closing
from pathlib import Path

import stzoo
from stzoo.data import files
from stzoo.data.containers import open_container
from stzoo.data.decoders import open_video
from stzoo.data.pictures import FPS
from stzoo.data.video import check_source
from stzoo.explain import reports
from stzoo.inference import events
from stzoo.visualize.timeline import clock, timeline
from stzoo.zoo import ENTRIES

LONGEST = 600  # seconds of a video
WINDOWS = 100  # at most, in a timeline
SHORTEST = 0.5  # seconds from one window to the next
# FFmpeg's names of formats without playlists, which would read other files.
FORMATS = "mov,matroska,webm,avi,asf,flv,gif,mpeg,mpegts,mpegvideo,m4v,ogg"


class Models:
    """Loads models by name, and keeps one in memory."""

    def __init__(self):
        self._lock, self._name, self._model = threading.Lock(), None, None

    def get(self, name):
        """Returns a model. The one before it is freed first."""
        with self._lock:
            if name != self._name:
                self._name = self._model = None
                gc.collect()  # a model has references to itself
                load = stzoo.create if name in ENTRIES else stzoo.load
                self._name, self._model = name, load(name)
            return self._model


def offered(names=()):
    """Returns the models of the page.

    Args:
        names: sequence of strings, names of weights (`"tsm_resnet50.kinetics400"`),
            folders or repositories of the Hub. If it is empty, all weights that are
            available and were trained on videos with names of classes are offered.

    Returns:
        List of tuples of a description and a name.

    Raises:
        ValueError: there is no such model.
    """
    known = {one.name: one for one in stzoo.list_models(pretrained=True)}
    for name in names:
        if not (name in known or name.startswith("hf://") or Path(name).is_dir()):
            raise ValueError(
                f"There are no available weights {name!r}, and no such folder. "
                "`stzoo list --pretrained` shows the weights."
            )
    videos = [one for one in known.values() if one.dataset not in ("", "imagenet")]
    videos.sort(key=lambda one: bool(one.download))  # those of the package first
    return [
        (_described(known[name]) if name in known else name, name)
        for name in names or [one.name for one in videos]
    ]


def _described(one):
    size = f"{one.download / 1e6:.0f} MB" if one.download else "included"
    return f"{one.name} ({size})"


def measured(path):
    """Returns the seconds of a video, and those between windows of its timeline.

    Raises:
        ValueError: the file is not a video, or it is too long.
    """
    if not files.is_video(path):
        known = ", ".join(files.VIDEOS)
        raise ValueError(f"{path} is not a video. Its name must end with {known}.")
    name, source = check_source(path)
    open_container(source, name, format_whitelist=FORMATS)[0].close()
    with open_video(path) as video:
        times = video.seconds
        seconds = len(video) / FPS if times is None else float(times[-1])
    if seconds > LONGEST:
        raise ValueError(
            f"{path} lasts {clock(seconds, seconds)}, but the page takes at most "
            f"{LONGEST // 60} minutes. Cut it, or use `stzoo stream`."
        )
    return seconds, max(SHORTEST, math.ceil(10 * seconds / WINDOWS) / 10)


def code(name, video, every, has_saliency=True):
    """Returns the Python code that computes what the page shows."""
    builder, _, tag = name.partition(".")
    model = f"load({name!r})"
    if name in ENTRIES:
        model = f'{builder}(pretrained="{tag}")'
    lines = ["import stzoo", ""]
    if has_saliency:
        lines.insert(1, "from stzoo.explain.reports import of_video")
    lines += [
        f"video = {video!r}",
        f"model = stzoo.{model}",
        "answers = stzoo.predict(model, video)",
        f"windows = list(stzoo.stream(model, video, every={every}))",
    ]
    if has_saliency:
        lines.append('of_video(model, "explained", video)  # saliency')
    return "\n".join([*lines, ""])


def answers(model, name, path, folder, progress):
    """Yields what the page shows of a video, in parts.

    Args:
        model: a model of the zoo.
        name: string, its name.
        path: path of the video.
        folder: path of a folder for the timeline and the film.
        progress: function of a number from 0 to 1 and `desc`, a string.

    Yields:
        Dict with some of `label`, `code`, `timeline`, `film` and `note`. It is empty
        after each window of the timeline, where the page can cancel.

    Raises:
        OSError: there is no such file.
        ValueError: the file is not a video, or it is too long.
    """
    seconds, every = measured(path)
    progress(0, desc="Answer")
    yield {
        "label": dict(stzoo.predict(model, path)),
        "code": code(name, Path(path).name, every),
    }
    found = []
    with closing(stzoo.stream(model, path, every=every)) as windows:
        for window in windows:
            found.append(window)
            progress(min(window.end / max(seconds, every), 1), desc="Timeline")
            yield {}
    rows = [window.probabilities for window in found]
    picture = timeline(events.spans(found), rows, found[0].labels, rows=8, width=5)
    (Path(folder) / "timeline.png").write_bytes(picture)
    yield {"timeline": str(Path(folder) / "timeline.png")}
    progress(0, desc="Saliency")
    try:
        title, _, (_, film) = reports.of_video(model, folder, path)
        yield {"film": str(film), "note": title}
    except ValueError as error:  # such as an exported model, or one with two streams
        without = code(name, Path(path).name, every, has_saliency=False)
        yield {"note": f"No saliency: {error}", "code": without}
