"""What is published: one version, its data files, and the Pythons that it names."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import stzoo

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_version_is_the_same_everywhere():
    """`pyproject.toml` has the version. The others follow it."""
    version = PYPROJECT["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.M) == [version]
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## (\S+)", changes, re.M)[0] == version
    assert stzoo.__version__ == metadata.version("stzoo")


def test_all_weights_of_the_repository_are_in_the_wheel():
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    folders = [path.name for path in (ROOT / "weights" / "hub").iterdir()]
    assert wheel["force-include"] == {
        f"weights/hub/{name}": f"stzoo/weights/shipped/{name}" for name in folders
    }


def test_the_workflow_runs_each_python_of_the_classifiers():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    named = [one.rpartition(" ")[2] for one in PYPROJECT["project"]["classifiers"]]
    named = [version for version in named if version.startswith("3.")]
    assert re.findall(r'\{python: "(.*?)", backend', workflow) == named
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    assert oldest == named[0]
