"""A Space of the Hub: a page that names the action in a video."""

from stzoo import app

MODELS = (
    "tsm_resnet50.kinetics400",
    "tsm_resnet50.something_v2",
    "tsm_mobilenetv2.kinetics400",
    "cost_tiny.motions",
)
demo = app.build(MODELS)

if __name__ == "__main__":
    app.launch(demo)
