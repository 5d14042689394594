"""What all tests share: a quick, quiet backend, and a Hub on loopback."""

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# As `import stzoo` before Keras does. Else the processor and the order of imports would
# decide whether a process and the one that it starts compute the same.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test waits for the real Hub
# Tests run side by side already, and JAX compiles the same graph again and again.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", f"{Path(__file__).parents[1]}/.pytest_cache/jax"
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import functools
import gc
import types

import pytest

GRAPHS = ("layers", "models", "backbones")


def pytest_collection_finish(session):
    """Collects garbage seldom, and does not look at what the imports made."""
    import keras

    if keras.backend.backend() == "tensorflow":
        _share_kernels_of_variables()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _share_kernels_of_variables():
    """Gives all variables of TensorFlow one name for debugging.

    It prepares a kernel for each new name, which takes a sixth of the time of a test
    that builds a network.
    """
    from tensorflow.python.ops import gen_resource_variable_ops

    create = gen_resource_variable_ops.var_handle_op

    def var_handle_op(*args, **kwargs):
        return create(*args, **kwargs | {"name": "variable", "debug_name": "variable"})

    gen_resource_variable_ops.var_handle_op = var_handle_op


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub on loopback for the real huggingface_hub, whose cache is empty."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _cache_assets, _http
    from loopback_hub import LoopbackHub

    with LoopbackHub() as hub:
        hub.cache = tmp_path / "cache"
        # The client reads its environment once, when it is imported.
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub.cache))
        # Its other way to send large files is a protocol of a library in Rust.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(hub.cache / "assets"))
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "STZOO_HUB_NAMESPACE"):
            monkeypatch.delenv(name, raising=False)
        # It waits 1 + 2 + 4 + 8 + 8 seconds for a Hub that does not answer.
        for module in (file_download, _http):
            monkeypatch.setattr(
                module, "time", types.SimpleNamespace(sleep=hub.waits.append)
            )
        yield hub


@pytest.fixture(autouse=True)
def no_graphs(request, monkeypatch):
    """Models on TensorFlow run step by step: a graph takes longer than a few steps.

    Graphs are tested with layers, models and backbones, and by tests with the mark
    `graphs`. JAX compiles in any case.
    """
    import keras

    has_graphs = request.node.get_closest_marker("graphs")
    has_graphs = has_graphs or request.path.parent.name in GRAPHS
    if keras.backend.backend() == "tensorflow" and not has_graphs:
        compile = functools.partialmethod(keras.Model.compile, run_eagerly=True)
        monkeypatch.setattr(keras.Model, "compile", compile)
        monkeypatch.setattr(keras.Model, "run_eagerly", True)


@pytest.fixture(autouse=True)
def quick_compilation(request):
    """Whole networks are compiled by XLA with few optimizations, and layers with all.

    Most of the time of their tests is compilation.
    """
    import keras

    if keras.backend.backend() == "jax":
        import jax

        is_network = request.path.parent.name == "models"
        jax.config.update("jax_disable_most_optimizations", is_network)


@pytest.fixture(scope="session")
def motion_folder(tmp_path_factory):
    """A folder for each of two motions, of three videos each."""
    from stzoo.data import motions

    folder = tmp_path_factory.mktemp("videos")
    for number in range(6):
        motion = ("rising", "shaking")[number % 2]
        (folder / motion).mkdir(exist_ok=True)
        frames, _, _ = motions.render(number, motion)
        motions.save(folder / motion / f"{number}.mp4", frames)
    return folder


@pytest.fixture
def one_broken(motion_folder, tmp_path_factory):
    """The same videos, and one that cannot be decoded, in the middle."""
    from stzoo.data.datasets import Videos, read

    broken = tmp_path_factory.mktemp("broken") / "broken.mp4"
    broken.write_text("no video")
    found = read(motion_folder)
    paths = (*found.paths[:3], str(broken), *found.paths[3:])
    return Videos(paths, (*found.labels[:3], 0, *found.labels[3:]), found.classes)
