"""What `import stzoo` costs, and what it says without a backend."""

import os
import subprocess
import sys

HEAVY = {"av", "huggingface_hub", "matplotlib", "PIL", "jax", "torch", "safetensors"}


def run(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )


def test_import_takes_keras_and_numpy_only():
    """Keras itself imports some of them where they are installed."""
    code = f"""
import os, sys
os.environ.pop("TF_ENABLE_ONEDNN_OPTS")
import keras
before = set(sys.modules)
import stzoo
print({HEAVY} & (set(sys.modules) - before), os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
"""
    # TensorFlow was there before, so a setting would come too late.
    assert run(code, KERAS_BACKEND="tensorflow").stdout.strip() == "set() None"


def test_without_a_backend_the_error_names_the_command():
    code = """
import importlib.util, os
os.environ.pop("KERAS_BACKEND", None)
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: (
    None if name in ("tensorflow", "jax", "torch") else find(name)
)
import stzoo
"""
    result = run(code)
    assert result.returncode == 1
    assert 'pip install "stzoo[tensorflow]"' in result.stderr


def test_a_backend_that_is_not_installed_is_named():
    result = run("import stzoo", KERAS_BACKEND="mxnet")
    assert result.returncode == 1
    assert "KERAS_BACKEND=mxnet" in result.stderr


def test_the_only_backend_installed_is_used():
    code = """
import importlib.util, os
os.environ.pop("KERAS_BACKEND", None)
del os.environ["TF_ENABLE_ONEDNN_OPTS"]
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "tensorflow" else find(name)
import stzoo, keras
print(keras.backend.backend(), os.environ["TF_ENABLE_ONEDNN_OPTS"])
"""
    assert run(code).stdout.strip() == "jax 1"


def test_jax_pools_in_time_correctly():
    """jaxlib 0.10.2 does not, unless told otherwise before it starts."""
    code = """
import stzoo, jax, numpy as np
from jax import lax
x = np.random.default_rng(0).normal(size=(8, 16, 16, 64)).astype("float32")

def pool(x):
    x = (x * 2 + 1).reshape(1, 8, 16, 16, 64)
    window = (1, 2, 1, 1, 1)
    return lax.reduce_window(x, -np.inf, lax.max, window, window, "VALID")

print(np.array_equal(jax.jit(pool)(x), pool(x)))
"""
    assert run(code, KERAS_BACKEND="jax").stdout.strip() == "True"
