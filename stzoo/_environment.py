"""Chooses the backend of Keras and sets the environment variables that it needs.

No other module sets an environment variable.
"""

import atexit
import json
import logging
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

logger = logging.getLogger("stzoo")
SUPPORTED = ("tensorflow", "jax", "torch")
DEFAULT = "tensorflow"  # the default of Keras
FUSION = "--xla_cpu_experimental_ynn_fusion_type"
_refused = None  # why the requested backend cannot be used


def prepare():
    """Chooses the backend and sets its environment variables, before Keras is imported.

    If there is none, or not the requested one, `check` raises an error once a backend
    is needed. Exported models and `stzoo --help` need none.
    """
    global _refused
    settings, loaded = read_settings(os.environ), None
    if "keras" in sys.modules:
        from keras.config import backend as keras_backend

        loaded = keras_backend()
    installed = [name for name in SUPPORTED if is_installed(name)]
    if not installed and not loaded:
        return
    try:
        backend = choose(installed, os.environ, settings, loaded)
    except ImportError as error:
        _refused = str(error)
        return
    if not loaded and backend != _asked(os.environ, settings):
        os.environ["KERAS_BACKEND"] = backend
    jaxlib = version("jaxlib") if backend == "jax" else None
    needed = variables(backend, os.environ, jaxlib)
    if "tensorflow" in sys.modules:
        # TensorFlow has already read this variable. Setting it now would only change
        # the results of child processes.
        needed.pop("TF_ENABLE_ONEDNN_OPTS", None)
    os.environ.update(needed)


def prepare_app():
    """Gives Gradio a new folder, and turns its statistics off.

    Gradio serves all files in its folder, which by default is shared by all programs
    that use Gradio. The new one is in it, and is deleted when the process ends.

    Returns:
        String, the path of the folder. Only this user can read it.
    """
    folder = tempfile.mkdtemp(
        prefix="stzoo-app-", dir=os.environ.get("GRADIO_TEMP_DIR")
    )
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = folder
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    return folder


def check():
    """Raises an `ImportError` if no backend, or not the requested one, can be used."""
    if _refused:
        raise ImportError(_refused)
    if not any(map(is_installed, SUPPORTED)):
        raise ImportError(
            "Keras needs TensorFlow, JAX or PyTorch, and none of them is installed. "
            'Install one, for example with `pip install "stzoo[tensorflow]"` (or '
            '"stzoo[jax]", "stzoo[torch]").'
        )


def choose(installed, environ, settings, loaded=None):
    """Chooses one of the supported backends, like Keras does.

    `KERAS_BACKEND` takes precedence over keras.json. If there is no keras.json, Keras
    creates one with "tensorflow", so this need not be the choice of the user. If it is
    not installed, the first installed backend is used.

    Args:
        installed: list of at least one string, the backends of `SUPPORTED` that are
            installed.
        environ: dict, the environment variables.
        settings: dict, the content of keras.json, or empty if there is no file.
        loaded: string, the backend of Keras if it is already imported, or `None`.

    Returns:
        String, one of `SUPPORTED`.

    Raises:
        ImportError: the requested backend is not supported or not installed.
    """
    name = loaded or _asked(environ, settings)
    if name in installed or loaded in SUPPORTED:
        return name
    file = settings_file(environ)
    if name == DEFAULT and not environ.get("KERAS_BACKEND"):
        logger.info(
            "TensorFlow, the default of Keras, is not installed, so the backend is "
            "%s. Set KERAS_BACKEND or edit %s to choose another one.",
            installed[0],
            file,
        )
        return installed[0]
    who = f'{file} says "backend": {json.dumps(name)}'
    if loaded:
        who = f"Keras was imported before stzoo, with the backend {name}"
    elif environ.get("KERAS_BACKEND"):
        who = f"KERAS_BACKEND={name}"
    problem = f"stzoo supports only {', '.join(SUPPORTED)}. Use one that is installed"
    if name in SUPPORTED:
        problem = (
            f"{name} is not installed. Install it with `pip install "
            f'"stzoo[{name}]"`, or use one that is installed'
        )
    raise ImportError(f"{who}, but {problem}: {', '.join(installed)}.")


def variables(backend, environ, jaxlib=None):
    """Returns the environment variables that a backend needs and that are not set.

    Args:
        backend: string.
        environ: dict, the environment variables.
        jaxlib: string, the version of jaxlib, or `None`.

    Returns:
        Dict from names to values.
    """
    needed = {}
    # TensorFlow uses oneDNN by default on processors with AVX-512 only. Without it, a
    # training step of cost_tiny on an AMD EPYC with AVX2 takes 2.6 times as long.
    if "TF_ENABLE_ONEDNN_OPTS" not in environ:
        needed["TF_ENABLE_ONEDNN_OPTS"] = "1"
    # The CPU compiler of jaxlib 0.10.2 computes wrong results for some fused
    # reductions, such as pooling in time (github.com/jax-ml/jax, 39103).
    flags = environ.get("XLA_FLAGS", "")
    if backend == "jax" and jaxlib == "0.10.2" and FUSION not in flags:
        needed["XLA_FLAGS"] = f"{flags} {FUSION}=-reduce".lstrip()
    return needed


def is_installed(name):
    """Returns whether a package is installed. A folder without code does not count."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def settings_file(environ):
    """Returns the path of keras.json."""
    folder = environ.get("KERAS_HOME")
    if folder is None:
        home = os.path.expanduser("~")
        folder = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return Path(os.path.expanduser(folder)) / "keras.json"


def read_settings(environ):
    """Returns the content of keras.json, or an empty dict if it cannot be read."""
    try:
        settings = json.loads(settings_file(environ).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _asked(environ, settings):
    """Returns the backend that Keras would use."""
    return environ.get("KERAS_BACKEND") or settings.get("backend", DEFAULT)
