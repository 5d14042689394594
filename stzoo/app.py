"""A page that names the action in a video, made with Gradio.

`stzoo app` serves it. An upload is deleted when another one replaces it, when its page
is closed, and at the latest after `KEPT` seconds. The page needs no network.
"""

import gc
import html
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import stzoo
from stzoo import _environment
from stzoo.data import files
from stzoo.data.containers import open_container
from stzoo.data.decoders import open_video
from stzoo.data.pictures import FPS
from stzoo.data.video import check_source
from stzoo.explain import reports
from stzoo.inference import events
from stzoo.visualize.timeline import clock, timeline
from stzoo.zoo import ENTRIES

DEFAULT = "tsm_resnet50.kinetics400"
SIZE = "200mb"  # of an upload
LONGEST = 600  # seconds of a video
KEPT = 3600  # seconds that files are kept, which is longer than a queue
WINDOWS = 100  # at most, in a timeline
SHORTEST = 0.5  # seconds from one window to the next
WAITING = 50  # people in the queue
# FFmpeg's names of formats without playlists, which would read other files.
FORMATS = "mov,matroska,webm,avi,asf,flv,gif,mpeg,mpegts,mpegvideo,m4v,ogg"
FONTS = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
CSS = "#timeline img {padding-top: 2rem} video {max-height: 20rem}"
ABOUT = f"""
# stzoo: which action is it?

Drop a video of at most {SIZE[:-2]} MB and {LONGEST // 60} minutes, or record one. It is
deleted when you remove it or close the page, and at the latest after an hour.
"""


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


class Uploads:
    """The uploads of the pages, which are files in one folder.

    An upload is deleted when another one replaces it. Two pages have the same file if
    they uploaded the same video.
    """

    def __init__(self, folder):
        self._folder, self._lock, self._paths = folder, threading.Lock(), {}

    def hold(self, page, path):
        """Keeps the upload of a page, or none, and deletes the one before it."""
        if path:
            self.check(path)
        with self._lock:
            before = self._paths.pop(page, None)
            if path:
                self._paths[page] = path
            if before and before not in self._paths.values():
                Path(before).unlink(missing_ok=True)

    def check(self, path):
        """Raises a `ValueError` if a path is no upload."""
        if not path:
            raise ValueError("There is no video. Drop one first.")
        file = Path(path).resolve()
        if not (file.is_relative_to(Path(self._folder).resolve()) and file.is_file()):
            raise ValueError(f"{file.name} is not on the server. Drop it again.")


def delete_old(folder, seconds):
    """Deletes the files in a folder that are older than a number of seconds."""
    for path in Path(folder).rglob("*"):
        with suppress(OSError):  # it is gone, or a folder with files
            if time.time() - path.lstat().st_ctime > seconds:
                path.rmdir() if path.is_dir() else path.unlink()


def _clean(folder):
    while Path(folder).exists():
        time.sleep(KEPT / 20)
        delete_old(folder, KEPT)


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
    return seconds, max(SHORTEST, round(seconds / WINDOWS, 1))


def code(name, video, every):
    """Returns the Python code that computes what the page shows."""
    builder, _, tag = name.partition(".")
    model = f"load({name!r})"
    if name in ENTRIES:
        model = f'{builder}(pretrained="{tag}")'
    return f"""import stzoo
from stzoo.explain.reports import of_video

video = {video!r}
model = stzoo.{model}
answers = stzoo.predict(model, video)
windows = list(stzoo.stream(model, video, every={every}))
of_video(model, "explained", video)  # saliency
"""


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
    except ValueError as error:  # such as a model with two streams
        yield {"note": f"No saliency: {error}"}


def build(names=()):
    """Builds the page.

    Args:
        names: sequence of strings, see `offered`.

    Returns:
        `gradio.Blocks`, for `launch`.

    Raises:
        ImportError: Gradio is not installed.
        ValueError: there is no such model.
    """
    choices = offered(names)
    folder = _environment.prepare_app()  # Gradio reads it when it is imported
    gr = _gradio()
    # Gradio itself deletes old uploads, but not the results that it copies.
    threading.Thread(target=_clean, args=(folder,), daemon=True).start()
    with gr.Blocks(title="stzoo", analytics_enabled=False) as page:
        gr.Markdown(ABOUT)
        with gr.Row():
            with gr.Column(min_width=320):
                asked = _asked(gr, choices)
            with gr.Column(min_width=320):
                shown = _results(gr)
        shown["note"] = asked["note"]
        first = code(asked["model"].value, "video.mp4", SHORTEST)
        shown["code"] = gr.Code(first, label="The same in Python", language="python")
        uploads = Uploads(folder)
        _answer_clicks(gr, asked, shown, uploads)
        _delete_uploads(gr, page, asked["video"], uploads)
    return page.queue(max_size=WAITING, default_concurrency_limit=1)


def _asked(gr, choices):
    """Lays out what a user chooses. Returns the parts of the page by name."""
    chosen = next((name for _, name in choices if name == DEFAULT), choices[0][1])
    asked = {
        "video": gr.Video(label="Video", elem_id="video"),
        "model": gr.Dropdown(
            choices,
            value=chosen,
            label="Model",
            info="The included ones know only motions of rendered shapes.",
        ),
    }
    with gr.Row():
        asked["start"] = gr.Button("Name the action", variant="primary")
        asked["cancel"] = gr.Button("Cancel")
    asked["note"] = gr.Markdown(container=True, min_height=90)
    return asked


def _results(gr):
    """Lays out what a model answers. Returns the parts of the page by name."""
    return {
        "label": gr.Label(label="Answer"),
        "timeline": gr.Image(
            label="Timeline", elem_id="timeline", buttons=["fullscreen"]
        ),
        "film": gr.Video(
            label="Saliency", elem_id="saliency", autoplay=True, loop=True
        ),
    }


def _answer_clicks(gr, asked, shown, uploads):
    models, progress = Models(), gr.Progress()

    def run(path, name, progress=progress):
        found = {part: None for key, part in shown.items() if key != "code"}
        yield found
        try:
            uploads.check(path)
            progress(0, desc="Model")
            with tempfile.TemporaryDirectory(prefix="stzoo-app-") as work:
                for parts in answers(models.get(name), name, path, work, progress):
                    found |= {shown[key]: part for key, part in parts.items()}
                    yield found if parts else gr.skip()
        except (ImportError, OSError, ValueError) as error:
            raise _shown(error, path) from None

    job = asked["start"].click(
        run,
        [asked["video"], asked["model"]],
        list(shown.values()),
        api_name="answer",
        show_progress_on=asked["note"],
    )
    asked["cancel"].click(None, cancels=[job])


def _delete_uploads(gr, page, video, uploads):
    def hold(path, request: gr.Request):
        uploads.hold(request.session_hash, path)

    def leave(request: gr.Request):
        uploads.hold(request.session_hash, None)

    video.change(hold, video, queue=False, api_visibility="private")
    page.unload(leave)


def _shown(error, path):
    """Returns an error for the page, which names the file as its user does."""
    text = str(error)
    if path:
        text = text.replace(path, Path(path).name)
    return _gradio().Error(html.escape(text), duration=None, print_exception=False)


def _gradio():
    try:
        import gradio
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{error}. `stzoo app` needs more libraries. Install them: "
            '`pip install "stzoo[app]"`.'
        ) from None
    return gradio


def launch(page, **options):
    """Serves a page, and returns when it is stopped.

    Args:
        page: the result of `build`.
        **options: of `gradio.Blocks.launch`, such as `server_name` and `auth`.

    Returns:
        The result of `gradio.Blocks.launch`.
    """
    gr = _gradio()
    theme = gr.themes.Default(font=FONTS[0], font_mono=FONTS[1])
    return page.launch(
        theme=theme,
        css=CSS,
        quiet=True,
        share=False,
        max_file_size=SIZE,
        ssr_mode=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        **options,
    )
