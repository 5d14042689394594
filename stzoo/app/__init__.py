"""A page that names the action in a video, made with Gradio. `stzoo app` serves it.

The page needs no network. It is made by `build` and served by `launch`.
"""

from stzoo.app.page import build, launch

__all__ = ("build", "launch")
