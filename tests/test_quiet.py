import subprocess
import sys

import pytest

from stzoo.cli import quiet

LOGS = "import os; os.write(2, b'from C++\\n')\n"
CONFIG = "class config:\n    list_physical_devices = staticmethod(lambda: [])\n"


def run(tmp_path, package, *lines):
    """Runs Python with a package that is called tensorflow."""
    (tmp_path / "tensorflow.py").write_text(package)
    code = "\n".join(["from stzoo.cli import quiet", *lines])
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    return result.returncode, result.stdout, result.stderr


def test_the_log_of_an_import_is_hidden_and_later_lines_are_shown(tmp_path):
    lines = ("quiet.install()", "from importlib.util import find_spec")
    lines += (
        "find_spec('tensorflow')",
        "import tensorflow",
        LOGS.replace("C++", "later"),
    )
    lines += ("print(tensorflow.config.list_physical_devices())",)
    assert run(tmp_path, LOGS + CONFIG, *lines) == (0, "[]\n", "from later\n")
    _, _, stderr = run(tmp_path, LOGS + CONFIG, "import tensorflow")
    assert stderr == "from C++\n"  # without it


def test_the_log_of_an_import_that_fails_is_shown(tmp_path):
    package = LOGS + "raise ImportError('no AVX')"
    code, _, stderr = run(tmp_path, package, "quiet.install()", "import tensorflow")
    assert code == 1 and "from C++" in stderr and "no AVX" in stderr


def test_a_tensorflow_that_is_missing_or_there_already(tmp_path, monkeypatch):
    finder = quiet._Finder()
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert finder.find_spec("numpy", None) is None and finder in sys.meta_path
    monkeypatch.setitem(sys.modules, "tensorflow", object())
    quiet.install()
    assert (
        sys.meta_path.count(finder)
        == 1
        == sum(isinstance(one, quiet._Finder) for one in sys.meta_path)
    )


@pytest.mark.parametrize("flag, is_shown", [((), False), (("-v",), True)])
def test_a_command_is_quiet_unless_it_is_asked_not_to_be(tmp_path, flag, is_shown):
    (tmp_path / "tensorflow.py").write_text(LOGS + CONFIG)
    code = "import stzoo.cli.answers as a, sys; import click\n"
    code += "a.demo.callback = lambda **_: __import__('tensorflow')\n"
    code += f"from stzoo.cli import main; main({[*flag, 'demo']!r})"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert ("from C++" in result.stderr) == is_shown, result.stderr
