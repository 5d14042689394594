"""Compares how fast the backends and the runtimes of a machine run a model."""

import json
import os
import platform
import re
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from stzoo import _environment
from stzoo.deploy import process
from stzoo.deploy.formats import FORMATS, check_builders, runtime_of
from stzoo.deploy.runtime import Exported

RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino", "litert": "litert"}
NAMES = (*_environment.SUPPORTED, *RUNTIMES)
PLAIN, FUSED = "plain", "fused"
CALIBRATION = 8  # random clips, since the speed of int8 does not depend on its ranges


def benchmark(model, names, precisions, batch, seconds, threads, progress=iter):
    """Measures a model on each backend and each runtime, in a process each.

    Args:
        model: a model of the zoo, or an exported one, which its runtime runs.
        names: sequence of strings of `NAMES`. Empty: all of them.
        precisions: sequence of strings, of the exports beside float32.
        batch: int, clips of a call. One clip is measured too.
        seconds: float, the time for the calls of each row.
        threads: int, number of cores, or `None` for all.
        progress: function that takes a sequence and yields its items.

    Returns:
        List of dicts with `runs_on`, `form`, and the numbers of
        `stzoo.deploy.measure.measure` or a `problem`.

    Raises:
        ValueError: the model takes clips of any size, this system cannot choose its
            cores, or an exported model is to be run in another way.
    """
    _check(model, names, precisions, threads)
    how = dict(batches=sorted({1, batch}), seconds=seconds, threads=threads)
    if isinstance(model, Exported):
        precision = model.stzoo.export.get("precision", "")
        return _rows(model.package, precision, lambda: model.folder, how)
    rows = []
    with tempfile.TemporaryDirectory(prefix="stzoo-benchmark-") as folder:
        for name, form in progress(_forms(model, names or NAMES, precisions)):
            write = _write_export if name in RUNTIMES else _write_model
            path = Path(folder, f"{name}-{form}")
            rows += _rows(name, form, partial(write, model, name, form, path), how)
    return rows


def _check(model, names, precisions, threads):
    if isinstance(model, Exported) and (names or precisions):
        raise ValueError(
            f"{model.folder} is an export: {model.package} runs it as it is. Omit "
            f"--only and --precision. Received: {', '.join((*names, *precisions))}."
        )
    if None in model.stzoo.clip.shape:
        raise ValueError(
            f"The speed of {model.name} depends on the size of its clips, and it takes "
            "any. Save it with input_shape=... first."
        )
    if threads and not hasattr(os, "sched_setaffinity"):
        raise ValueError(f"--threads is not available on {platform.system()}.")


def _forms(model, names, precisions):
    """Returns pairs of a name and a form of the model, in the order of `NAMES`."""
    backends = (FUSED,) if model.stzoo.fused else (PLAIN, FUSED)
    runtimes = dict.fromkeys(("float32", *precisions))
    return [
        (name, form)
        for name in NAMES
        if name in names
        for form in (runtimes if name in RUNTIMES else backends)
    ]


def _write_model(model, backend, form, path):
    from stzoo.deploy.fusion import fuse
    from stzoo.weights import checkpoint

    if not _environment.is_installed(backend):
        raise ImportError(
            f'{backend} is not installed. Install it: `pip install "stzoo[{backend}]"`.'
        )
    checkpoint.save(fuse(model) if form == FUSED else model, path)
    return path


def _write_export(model, name, precision, path):
    from stzoo.deploy.export import write_export

    format = FORMATS[RUNTIMES[name]]
    if precision not in format.precisions:
        raise ValueError(f"{name} has no {precision}.")
    check_builders(format, precision)
    runtime_of(format)
    clips = None
    if precision == "int8":
        shape = (CALIBRATION, *model.input_shape[1:])
        clips = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    file, how = f"model{format.suffix}", (format, precision, None)
    write_export(model, path, file, how, clips, check=precision != "int8")
    return path


def _rows(name, form, write, how):
    """Returns the rows of a backend or a runtime: one for each batch, or a problem."""
    about = {"runs_on": name, "form": form}
    try:
        return [about | row for row in _in_process(write(), name, how)]
    except (ImportError, RuntimeError, ValueError) as error:
        return [about | {"problem": str(error)}]


def _in_process(folder, name, how):
    """Runs `stzoo.deploy.measure` for a folder."""
    env = {"KERAS_BACKEND": name} if name in _environment.SUPPORTED else {}
    request = json.dumps(how | {"folder": str(folder), "started": time.time()})
    printed = process.run("stzoo.deploy.measure", request, **env)
    return json.loads(printed.splitlines()[-1])


def processor():
    """Returns the name of the processor of this machine."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    found = re.search(r"^model name\s*: (.*)", text, re.M)
    return found[1] if found else platform.processor() or platform.machine()
