"""Keras 3 models for video action recognition, with pretrained weights.

Every builder of `list_models()` is a function of this package too:
`stzoo.tsm_resnet50(pretrained="kinetics400")`. Names are imported on first use.
"""

from importlib import import_module
from importlib.util import find_spec

from stzoo import _environment

_environment.prepare()

_FUNCTIONS = {  # name: module, and the name there if it is another one
    "contributions": "explain.contributions",
    "convert": "conversion",
    "create": "zoo",
    "evaluate": "inference.evaluate",
    "export": "deploy.export",
    "extract": "inference.extract",
    "find_events": "inference.events",
    "finetune": "training.finetune",
    "fuse": "deploy.fusion",
    "list_models": "zoo",
    "load": "loading",
    "online": "inference.online:Online",
    "predict": "inference.predict",
    "probe": "training.probe",
    "push_to_hub": "weights.publish",
    "read_videos": "data.datasets:read",
    "save": "weights.checkpoint",
    "stream": "inference.stream",
}
# They need no Keras for an exported model.
_FREE = ("evaluate", "extract", "load", "predict", "read_videos")


def __getattr__(name):
    if name in _FUNCTIONS:
        if name not in _FREE:
            _environment.check()
        module, _, other = _FUNCTIONS[name].partition(":")
        found = getattr(import_module(f"stzoo.{module}"), other or name)
    elif name == "__version__":
        from importlib.metadata import version

        found = version("stzoo")
    elif name == "__all__":
        found = ["layers", *_FUNCTIONS, *_builders()]
    elif name.startswith("__"):
        found = None
    elif find_spec(f"stzoo.{name}"):
        found = import_module(f"stzoo.{name}")
    else:
        found = _builders().get(name)
    if found is None:
        raise AttributeError(f"module 'stzoo' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__():
    return sorted({*__getattr__("__all__"), "__version__"})


def _builders():
    _environment.check()
    return import_module("stzoo.zoo").BUILDERS
