"""The page of `stzoo app`: its layout, and what happens on it."""

import html
import tempfile
import threading
from pathlib import Path

from stzoo import _environment
from stzoo.app.answers import LONGEST, SHORTEST, Models, answers, code, offered
from stzoo.app.uploads import Uploads, clean

DEFAULT = "tsm_resnet50.kinetics400"
SIZE = "200mb"  # of an upload
WAITING = 50  # people in the queue
FONTS = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
CSS = "#timeline img {padding-top: 2rem} video {max-height: 20rem}"
ABOUT = f"""
# stzoo: which action is it?

Drop a video of at most {SIZE[:-2]} MB and {LONGEST // 60} minutes, or record one. It is
deleted when you remove it or close the page, and at the latest after an hour.
"""


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
    threading.Thread(target=clean, args=(folder,), daemon=True).start()
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
