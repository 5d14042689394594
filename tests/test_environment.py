"""The choice of the backend and its environment variables."""

import json
import logging

import pytest

from stzoo import _environment
from stzoo._environment import (
    SUPPORTED,
    check,
    choose,
    prepare,
    read_settings,
    variables,
)

HOME = {"KERAS_HOME": "/home/me"}
FILE = "/home/me/keras.json"


@pytest.mark.parametrize(
    ("installed", "environ", "settings", "loaded", "expected"),
    [
        (SUPPORTED, {}, {}, None, "tensorflow"),
        (SUPPORTED, {}, {"backend": "torch"}, None, "torch"),
        (["jax", "torch"], {}, {"backend": "torch"}, None, "torch"),
        (SUPPORTED, {"KERAS_BACKEND": "jax"}, {"backend": "torch"}, None, "jax"),
        (SUPPORTED, {"KERAS_BACKEND": ""}, {"backend": "torch"}, None, "torch"),
        (SUPPORTED, {"KERAS_BACKEND": "jax"}, {}, "torch", "torch"),
        (["jax"], {}, {"backend": "jax"}, "torch", "torch"),
        (["torch"], {}, {}, None, "torch"),
        (["jax", "torch"], {}, {"backend": "tensorflow"}, None, "jax"),
        (["torch"], {"KERAS_BACKEND": ""}, {"backend": "tensorflow"}, None, "torch"),
    ],
)
def test_the_backend_is_that_of_keras(installed, environ, settings, loaded, expected):
    assert choose(list(installed), environ, settings, loaded) == expected


def test_a_backend_other_than_the_default_is_logged(caplog):
    caplog.set_level(logging.INFO, "stzoo")
    assert choose(["torch"], HOME, {"backend": "tensorflow"}) == "torch"
    (message,) = caplog.messages
    assert "the backend is torch" in message
    assert FILE in message
    caplog.clear()
    choose(["tensorflow", "torch"], HOME, {"backend": "torch"})
    assert not caplog.messages


@pytest.mark.parametrize(
    ("installed", "environ", "settings", "loaded", "parts"),
    [
        (["jax"], {"KERAS_BACKEND": "numpy"}, {}, None, ["KERAS_BACKEND=numpy, but"]),
        (["jax"], {}, {"backend": "openvino"}, None, [FILE, '"backend": "openvino"']),
        (["jax"], {}, {"backend": 5}, None, [FILE, '"backend": 5', "installed: jax."]),
        (["jax"], {}, {}, "numpy", ["imported before stzoo, with the backend numpy"]),
        (
            ["jax", "torch"],
            {"KERAS_BACKEND": "tensorflow"},
            {},
            None,
            [
                "KERAS_BACKEND=tensorflow",
                'pip install "stzoo[tensorflow]"',
                "jax, torch",
            ],
        ),
        (["jax"], {}, {"backend": "torch"}, None, [FILE, "torch is not installed"]),
    ],
)
def test_an_unavailable_backend_is_an_error(
    installed, environ, settings, loaded, parts
):
    with pytest.raises(ImportError) as error:
        choose(installed, HOME | environ, settings, loaded)
    for part in parts:
        assert part in str(error.value)
    if "supports" in str(error.value):
        assert "tensorflow, jax, torch" in str(error.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (json.dumps({"backend": "jax"}), {"backend": "jax"}),
        ("not JSON", {}),
        ("[1]", {}),
        (None, {}),
    ],
)
def test_settings_are_read_where_keras_reads_them(content, expected, tmp_path):
    if content:
        (tmp_path / "keras.json").write_text(content)
    assert read_settings({"KERAS_HOME": str(tmp_path)}) == expected


def test_settings_are_in_the_home_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text('{"backend": "torch"}')
    assert read_settings({}) == {"backend": "torch"}


def test_a_folder_without_code_is_not_installed(tmp_path, monkeypatch):
    (tmp_path / "some_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not _environment.is_installed("some_folder")
    assert _environment.is_installed("keras")


def test_environment_variables_are_set_once():
    assert variables("torch", {}) == {"TF_ENABLE_ONEDNN_OPTS": "1"}
    off = {"TF_ENABLE_ONEDNN_OPTS": "0"}
    assert variables("tensorflow", off) == {}
    assert variables("jax", off, jaxlib="0.10.3") == {}
    needed = variables("jax", off | {"XLA_FLAGS": "--mine"}, jaxlib="0.10.2")
    flag = "--xla_cpu_experimental_ynn_fusion_type=-reduce"
    assert needed == {"XLA_FLAGS": f"--mine {flag}"}
    assert variables("jax", off | needed, jaxlib="0.10.2") == {}
    assert variables("jax", off, jaxlib="0.10.2") == {"XLA_FLAGS": flag}


def test_without_a_backend_the_error_names_the_command(monkeypatch):
    monkeypatch.setattr("stzoo._environment.is_installed", lambda name: False)
    prepare()  # a command that needs no backend runs
    with pytest.raises(ImportError, match=r'pip install "stzoo\[tensorflow\]"'):
        check()
