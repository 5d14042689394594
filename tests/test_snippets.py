"""Every snippet of the documents and of the docstrings runs, or is at least parsed.

The blocks of a document run in their order: Python in one namespace, `stzoo` in the
same folder, which has small videos. Six things are not as a reader has them:

* The builders of large networks make tiny ones (`tiny_builder`). Their arguments and
  the names of weights are checked; no weights are fetched. In the cards of folders,
  whose snippets do nothing else, no network is built at all (`entry_of`).
* On TensorFlow, models train without graphs, see `no_graphs`.
* The Hub is one on loopback, see `hub`.
* What a snippet leaves to its reader is in `given`.
* `CHANGED` shortens what takes long, and `CLUSTER` stands for several machines.
* Some commands are parsed by their own parser and do not run, see `run_shell`: scripts,
  which take minutes to hours; installers, tests and linters, which are about this very
  checkout; commands for several machines; a server.

A block `py` has the code of another library, which is only parsed. A block `text` is
not code.
"""

import argparse
import ast
import csv
import dataclasses
import doctest
import functools
import glob
import importlib
import inspect
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import click
import keras
import numpy as np
import pytest
from click.testing import CliRunner

import stzoo
from stzoo import cli, zoo
from stzoo.data import motions
from stzoo.training import devices

ROOT = Path(__file__).parents[1]
CHANGED = {
    "stzoo finetune ": "stzoo finetune --epochs 2 ",
    'RECIPES["small_data"]\n': 'RECIPES["small_data"].resized(epochs=2)\n',
    "epochs=20, batch_size=8": "epochs=2, batch_size=8",
    "/shared/": "shared/",
}
CLUSTER = "--distributed"
PLACEHOLDERS = {"NAME": "p3d_tiny"}  # where a parser knows all the names there are
TINY = {"input_shape": (2, 32, 32, 3), "width": 4, "depths": (1, 1, 1, 3)}
LARGER = {  # what else the networks need that cannot be as small
    "cstm": {"width": 8},
    "gsm": {"width": 8},
    "s3d": {"input_shape": (16, 32, 32, 3)},
    "stpn": {"input_shape": None, "width": 16},
    "videomae": {"width": 12, "depth": 1},
    "vjepa2": {"width": 12, "depth": 1},
}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:\w+=\S+ )?python\s+scripts/[^`]+)`")


def files(*patterns):
    """Paths from the root of the repository."""
    found = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    return [path.relative_to(ROOT).as_posix() for path in found]


def text_of(path):
    return (ROOT / path).read_text("utf-8")


FOLDERS = ("docs", "weights", "benchmarks", "studies")
SLOW = ("README.md", "docs/quickstart.md", "docs/guides/")
SLOW += tuple(f"stzoo/{path}.py" for path in ("training/rate", "training/finetune"))
SLOW += ("stzoo/deploy/export.py",)
DOCUMENTS = files("*.md", *(f"{folder}/**/*.md" for folder in FOLDERS))
SCRIPTS = files("scripts/*.py")
SOURCES = [
    path
    for path in files("stzoo/**/*.py")
    if "```" in text_of(path) or ">>>" in text_of(path)
]


def blocks(text):
    """Tuples `(language, code, line)` of the fenced blocks of a text."""
    found = [
        (match[1], match[2], text[: match.start()].count("\n") + 2)
        for match in FENCE.finditer(text)
    ]
    fences = re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)
    assert len(fences) == 2 * len(found), "a fence is not closed or has no language"
    return found


def commands(code):
    """The commands of a shell block as lists of words, wildcards expanded."""
    for line in code.replace("\\\n", " ").splitlines():
        words = []
        for word in [*shlex.split(line, comments=True, posix=False), "&&"]:
            if word != "&&":
                words += _expanded(word)
            elif words:
                yield words
                words = []


def _expanded(word):
    if word[0] in "\"'":
        return shlex.split(word)
    return sorted(glob.glob(word)) if "*" in word else [word]


def docstrings(path):
    """The docstrings of a file, which hold all of its snippets."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [n for n in ast.walk(ast.parse(text_of(path))) if isinstance(n, kinds)]
    found = [doc for node in nodes if (doc := ast.get_docstring(node))]
    for mark in ("```", ">>> "):
        assert sum(doc.count(mark) for doc in found) == text_of(path).count(mark)
    return found


def tiny_builder(name):
    """A builder that takes what `name` takes and makes a tiny network of its family."""
    real = zoo.BUILDERS[name]
    family = name.partition("_")[0].replace("s3dg", "s3d")
    tiny = zoo.BUILDERS[f"{family}_tiny"]
    sizes, known = TINY | LARGER.get(family, {}), inspect.signature(tiny).parameters
    sizes = {key: value for key, value in sizes.items() if key in known}

    @functools.wraps(real)
    def build(*args, **kwargs):
        options = inspect.signature(real).bind(*args, **kwargs).arguments
        tag = options.pop("pretrained", None)
        if not tag:
            return tiny(**sizes | options)
        entry = zoo.ENTRIES[f"{name}.{tag}"]
        model = tiny(**sizes | {"classes": entry.classes} | options)
        if model.stzoo.classes == entry.classes:
            named = {"labels": entry.labels, "dataset": entry.dataset}
            model.stzoo = dataclasses.replace(model.stzoo, **named)
        return model

    return build


def entry_of(name):
    """A function that finds the weights which a builder is asked for."""
    signature = inspect.signature(zoo.BUILDERS[name])
    return lambda **options: zoo.ENTRIES[
        f"{name}.{signature.bind(**options).arguments['pretrained']}"
    ]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A folder with videos by the names that the snippets have."""
    folder = tmp_path_factory.mktemp("rendered")
    sources = {}
    for label in ("rising", "shaking"):
        sources[label] = folder / f"{label}.mp4"
        motions.save(sources[label], motions.render(1, label)[0])
    for name in ("ball", "demo", "dance", "walk", "new", "match"):
        shutil.copy(sources["rising"], folder / f"{name}.mp4")
    parts = {"videos/train": 4, "videos/validation": 1, "videos/test": 1, "my/test": 1}
    for part, count in parts.items():
        for label, source in sources.items():
            (folder / part / label).mkdir(parents=True)
            for number in range(count):
                shutil.copy(source, folder / part / label / f"{number}.mp4")
    _kinetics(folder, sources["rising"])
    for label, source in sources.items():
        (folder / "videos" / "recorded" / label).mkdir(parents=True)
        for person in range(4):
            name = f"person{person}_{label}.mp4"
            shutil.copy(source, folder / "videos" / "recorded" / label / name)
    of_motions = folder / "runs" / "motions" / "test"
    of_motions.mkdir(parents=True)
    shutil.copy(sources["rising"], of_motions)
    (of_motions / "labels.csv").write_text(
        "path,motion,shape\nrising.mp4,rising,disc\n"
    )
    return folder


def _kinetics(folder, source):
    """A list of two videos, of which one is there."""
    shutil.copy(source, folder / "videos" / "a_000001_000011.mp4")
    (folder / "kinetics").mkdir()
    with (folder / "kinetics" / "train.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("label", "youtube_id", "time_start", "time_end", "split"))
        rows.writerow(("rising", "a", 1, 11, "train"))
        rows.writerow(("shaking", "b", 1, 11, "train"))


@pytest.fixture
def reader(rendered, tmp_path, monkeypatch):
    """Goes where a reader of the snippets is."""
    monkeypatch.chdir(shutil.copytree(rendered, tmp_path / "here"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    for name in stzoo.list_models():
        if not name.endswith("_tiny"):
            monkeypatch.setattr(stzoo, name, tiny_builder(name))
            monkeypatch.setitem(zoo.BUILDERS, name, getattr(stzoo, name))
    return monkeypatch


class Batches(keras.utils.PyDataset):
    """One batch of black clips."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return np.zeros((2, *TINY["input_shape"]), "uint8"), np.zeros(2, "int32")


def given(path):
    """The names that the snippets of a file leave to their reader."""
    names = {"stzoo": stzoo, "keras": keras, "np": np}
    if path == "README.md":
        names["train"] = Batches()
        names["names"] = [f"class {number}" for number in range(101)]
        names["x"] = np.zeros((1, 2, 8, 8, 3), "float32")
    if path.startswith("stzoo/"):
        model = stzoo.c2d_tiny(
            2, input_shape=TINY["input_shape"], width=4, depths=(1, 1)
        )
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
        names |= {"model": model, "process": 0}
    return names


def run_python(code, names, where):
    exec(compile(code, where, "exec"), names)


def run_shell(words, patch):
    """Runs a command, or only parses it where the text at the top says so."""
    while re.fullmatch(r"\w+=\S+", words[0]):
        check_variable(words[0])
        words = words[1:]
    words = [words[0].removeprefix(".venv/bin/"), *words[1:]]
    match words:
        case ["export", *variables]:
            for variable in variables:
                check_variable(variable)
        case ["stzoo", "app", *_]:
            parse_click(words[1:])
        case ["stzoo", *arguments] if CLUSTER in arguments or is_a_template(arguments):
            parse_click(arguments)
        case ["stzoo", *arguments]:
            result = CliRunner().invoke(cli.main, arguments, catch_exceptions=False)
            assert result.exit_code == 0, result.output
        case ["python", path, *arguments] if path in SCRIPTS:
            parse_script(Path(path).stem, arguments, patch)
        case ["python3", "-m", "venv", *arguments]:
            parse_script("venv", arguments, patch)
        case ["pip", "install", *options, package]:
            assert options in ([], ["-e"])
            check_extras(package)
        case ["pytest", *arguments]:
            parse_tool([sys.executable, "-m", "pytest", *arguments, "--markers"])
            assert all((ROOT / word).exists() for word in arguments if "/" in word)
        case ["ruff" | "lint-imports" | "mutmut" as tool, *arguments]:
            path = Path(sysconfig.get_path("scripts"), tool)
            assert path.exists(), f'{tool} is missing: pip install -e ".[test]".'
            parse_tool([path, *arguments, "--help"])
        case _:
            raise AssertionError(f"It is not known how to run {shlex.join(words)}.")


def is_a_template(arguments):
    """Whether a command names a FILE that the reader has and we do not."""
    return any(re.fullmatch(r"FILE[.\w]*", word) for word in arguments)


def check_variable(variable):
    """A variable of the environment is one that Keras reads."""
    name, _, value = variable.partition("=")
    if name == "KERAS_BACKEND":
        assert value in ("tensorflow", "jax", "torch")
    else:
        assert f'"{name}"' in inspect.getsource(keras.distribution.initialize), name


def check_extras(package):
    """A package is this one, with extras that it has."""
    extras = re.fullmatch(r"(?:\.|stzoo)\[([\w,-]+)\]", package)[1].split(",")
    known = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    assert set(extras) <= known.keys()


class Parsed(Exception):
    """Ends a script once it has read its arguments."""


def parse_script(name, arguments, patch):
    parse = argparse.ArgumentParser.parse_args
    arguments = [PLACEHOLDERS.get(word, word) for word in arguments]
    script = importlib.import_module(name)
    if isinstance(getattr(script, "convert", None), click.Command):
        script.convert.make_context(name, list(arguments))
        return
    if not hasattr(script, "argparse") and name != "venv":
        assert not arguments, f"{name} takes no arguments."
        return

    def parse_only(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise Parsed

    with patch.context() as inner, pytest.raises(Parsed):
        inner.setattr(argparse.ArgumentParser, "parse_args", parse_only)
        inner.setattr(sys, "argv", [name, *arguments])
        script.main()


def parse_click(arguments):
    """Parses a command of `stzoo`, also one in a group of commands."""
    command, context = cli.main, None
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context)
        _, command, arguments = command.resolve_command(context, list(arguments))
    command.make_context(command.name, list(arguments), parent=context)


def parse_tool(command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def marked(paths):
    """Marks the files that take longest."""
    return [
        pytest.param(p, marks=[pytest.mark.slow] * p.startswith(SLOW)) for p in paths
    ]


@pytest.mark.parametrize("path", marked(DOCUMENTS))
def test_a_document_runs_from_top_to_bottom(path, reader, hub):
    if path.startswith("weights/hub/"):
        for name in stzoo.list_models():
            reader.setattr(stzoo, name, entry_of(name))
    names = given(path)
    for language, code, line in blocks(text_of(path)):
        for old, new in CHANGED.items():
            code = code.replace(old, new)
        try:
            if language == "python":
                run_python("\n" * (line - 1) + code, names, path)
                continue
            if language in ("py", "text"):
                ast.parse(code if language == "py" else "")
                continue
            assert language == "sh", f"It is not known how to run {language}."
            for words in commands(code):
                run_shell(words, reader)
        except BaseException as error:
            error.add_note(f"The snippet starts at {path}:{line}.")
            raise


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_command_within_a_sentence_is_one_of_a_script(path, monkeypatch):
    for command in INLINE.findall(FENCE.sub("", text_of(path))):
        for words in commands(" ".join(command.split())):
            run_shell(words, monkeypatch)


class Checker(doctest.OutputChecker):
    """A shape of TensorFlow or PyTorch is printed as the tuple that it is."""

    def check_output(self, want, got, flags):
        got = re.sub(r"(?:TensorShape|torch\.Size)\(\[(.*?)\]\)", r"(\1)", got)
        return super().check_output(want, got, flags)


# Keras' MixUp asks JAX for 64 bits.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64:UserWarning")
@pytest.mark.parametrize("path", marked(SOURCES))
def test_the_examples_of_docstrings_run(path, reader, hub):
    if path == "stzoo/training/devices.py":  # they are for two machines with JAX
        reader.setattr(keras.distribution, "initialize", lambda *address: None)
        reader.setattr(devices, "distribute", lambda: None)
    for doc in docstrings(path):
        if "```" not in doc and ">>>" not in doc:
            continue
        names = given(path)
        for language, code, _ in blocks(doc):
            assert language == "python"
            for old, new in CHANGED.items():
                code = code.replace(old, new)
            run_python(code, names, path)
        examples = doctest.DocTestParser().get_doctest(doc, names, path, path, 0)
        said = []
        runner = doctest.DocTestRunner(Checker(), optionflags=doctest.ELLIPSIS)
        assert not runner.run(examples, out=said.append).failed, "".join(said)


@pytest.mark.parametrize("path", SCRIPTS)
def test_the_commands_in_the_docstring_of_a_script_are_its_own(path, monkeypatch):
    doc = ast.get_docstring(ast.parse(text_of(path)))
    lines = [line.strip() for line in doc.replace("\\\n", " ").splitlines()]
    found = [line for line in lines if re.match(r"(\w+=\S+ )?python ", line)]
    assert found or "def main" not in text_of(path)
    for line in found:
        assert path in line.split()[1:3]
        for words in commands(line):
            run_shell(words, monkeypatch)


def helps(command, context=None):
    """The help of a command and of all below it."""
    context = click.Context(command, parent=context, info_name=command.name)
    yield command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from helps(command.get_command(context, name), context)


def test_the_examples_of_help_are_parsed():
    examples = []
    for text in helps(cli.main):
        examples += re.findall(r"^ +(?:\$ )?stzoo (.*)$", text, re.MULTILINE)
    for example in examples:
        for words in commands(example):
            parse_click(words)
