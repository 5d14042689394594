"""What `import stzoo` costs, and what it says without a backend."""

import json
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


def test_a_backend_that_is_not_supported_is_an_error_once_one_is_needed():
    """In the shell, it is one line. `--help` does not need a backend."""
    code = """
import sys
import stzoo
from click.testing import CliRunner
from stzoo.cli import main
try:
    stzoo.cost_tiny
except ImportError as error:
    print(error, "keras" in sys.modules)
for arguments in (["list", "--pretrained"], ["demo", "--help"]):
    result = CliRunner().invoke(main, arguments)
    print(result.exit_code, "keras" in sys.modules, result.output.splitlines()[0])
"""
    message, *lines = run(code, KERAS_BACKEND="numpy").stdout.splitlines()
    assert message.startswith("KERAS_BACKEND=numpy, but stzoo supports only")
    assert message.endswith("False")
    assert lines[0] == f"1 False Error: {message.removesuffix(' False')}"
    assert lines[1].startswith("0 False Usage")


def test_the_backend_of_keras_json_is_used_where_tensorflow_is_missing(tmp_path):
    code = """
import importlib.util, os
os.environ.pop("KERAS_BACKEND")
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "tensorflow" else find(name)
import stzoo, keras
print(keras.backend.backend(), os.environ.get("KERAS_BACKEND"))
"""
    settings = tmp_path / "keras.json"
    # "tensorflow" stands there wherever Keras has been imported once.
    for named, expected in (("torch", "torch None"), ("tensorflow", "jax jax")):
        settings.write_text(json.dumps({"backend": named}))
        result = run(code, KERAS_BACKEND="", KERAS_HOME=str(tmp_path))
        assert result.stdout.strip() == expected, result.stderr


def test_the_backend_of_a_keras_that_is_imported_stays():
    code = """
import keras, os
os.environ["KERAS_BACKEND"] = "jax"
import stzoo
print(keras.backend.backend(), os.environ["KERAS_BACKEND"])
"""
    assert run(code, KERAS_BACKEND="torch").stdout.strip() == "torch jax"


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


def test_help_needs_no_backend():
    code = """
import sys
from click.testing import CliRunner
import stzoo
from stzoo.cli import main
for command in ([], ["finetune"], ["predict"]):
    assert CliRunner().invoke(main, [*command, "--help"]).exit_code == 0
print({"keras", "numpy", "tensorflow", "rich"} & set(sys.modules))
"""
    assert run(code).stdout.strip() == "set()"


def test_a_command_says_in_one_line_that_there_is_no_backend(tmp_path):
    code = f"""
import os, sys
from stzoo import _environment
_environment.is_installed = lambda name: False
for name in _environment.SUPPORTED:
    sys.modules[name] = None  # an import of it fails
from click.testing import CliRunner
from stzoo.cli import main
os.chdir({str(tmp_path)!r})
open("clip.mp4", "w").close()
commands = ["list", "list --pretrained", "demo", "predict clip.mp4", "explain clip.mp4"]
commands += ["convert cost_tiny clip.mp4 --out mine", "export cost_tiny.motions a.onnx"]
for command in commands:
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == 1, (command, result)
    lines = result.output.strip().splitlines()
    assert lines[-1].startswith("Error: Keras needs TensorFlow, JAX or PyTorch"), lines
    assert "Traceback" not in result.output and result.exc_info[0] is SystemExit
print(os.listdir())
"""
    assert run(code).stdout.strip() == "['clip.mp4']", run(code).stderr


def test_all_public_names_are_there():
    code = """
import inspect
import stzoo
assert set(dir(stzoo)) == {*stzoo.__all__, "__version__"}
for name in stzoo.__all__:
    assert inspect.getdoc(getattr(stzoo, name)), name
assert {"predict", "evaluate", "finetune", "read_videos", "cost_tiny"} <= {*dir(stzoo)}
assert stzoo.cost_tiny is stzoo.zoo.BUILDERS["cost_tiny"]
assert stzoo.__version__[0].isdigit() and not hasattr(stzoo, "nothing")
from stzoo import *
print(cost_tiny.__name__)
"""
    assert run(code).stdout.strip() == "cost_tiny", run(code).stderr
