"""Compares how fast the backends and the runtimes of a machine run a model."""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from stzoo import _environment
from stzoo.deploy.formats import FORMATS
from stzoo.deploy.runtime import Exported

RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino", "litert": "litert"}
NAMES = (*_environment.SUPPORTED, *RUNTIMES)
PLAIN, FUSED = "plain", "fused"
CALIBRATION = 8  # random clips, since the speed of int8 does not depend on its ranges


def benchmark(model, names, precisions, batch, seconds, threads, progress=iter):
    """Measures a model on each backend and each runtime, in a process each.

    Args:
        model: a model of the zoo, or an exported one, which its runtime runs.
        names: sequence of strings of `NAMES`.
        precisions: sequence of strings, of the exports.
        batch: int, clips of a call. One clip is measured too.
        seconds: float, the time for the calls of each row.
        threads: int, number of cores, or `None` for all.
        progress: function that takes a sequence and yields its items.

    Returns:
        List of dicts with `runs_on`, `form`, and the numbers of
        `stzoo.deploy.measure.measure` or a `problem`.

    Raises:
        ValueError: the model takes clips of any size, or this system cannot choose its
            cores.
    """
    _check(model, threads)
    how = dict(batches=sorted({1, batch}), seconds=seconds, threads=threads)
    if isinstance(model, Exported):
        form = model.stzoo.export.get("precision", "")
        return _rows(model.package, form, lambda: model.folder, "", how)
    with tempfile.TemporaryDirectory(prefix="stzoo-benchmark-") as folder:
        rows = []
        for name, form, prepare in progress(_plan(model, names, precisions, folder)):
            backend = name if name in _environment.SUPPORTED else ""
            rows += _rows(name, form, prepare, backend, how)
        return rows


def _check(model, threads):
    if None in model.stzoo.clip.shape:
        raise ValueError(
            f"The speed of {model.name} depends on the size of its clips, and it takes "
            "any. Save it with input_shape=... first."
        )
    if threads and not hasattr(os, "sched_setaffinity"):
        raise ValueError(f"threads cannot be chosen on {platform.system()}.")


def _plan(model, names, precisions, folder):
    """Returns tuples of a name, a form, and the function that makes its folder."""
    plan = []
    for name in names:
        forms = (PLAIN, FUSED)
        if name in RUNTIMES:
            forms = dict.fromkeys(("float32", *precisions))
        elif model.stzoo.fused:
            forms = (FUSED,)
        for form in forms:
            path = Path(folder, f"{name}-{form}")
            function = _exported if name in RUNTIMES else _saved
            plan.append((name, form, _later(function, model, name, form, path)))
    return plan


def _later(function, *arguments):
    return lambda: function(*arguments)


def _saved(model, backend, form, path):
    from stzoo.deploy.fusion import fuse
    from stzoo.weights import checkpoint

    if not _environment.is_installed(backend):
        raise ImportError(f'not installed: pip install "stzoo[{backend}]"')
    checkpoint.save(fuse(model) if form == FUSED else model, path)
    return path


def _exported(model, name, precision, path):
    from stzoo.deploy.export import write_export

    format = FORMATS[RUNTIMES[name]]
    if precision not in format.precisions:
        raise ValueError(f"{format.name} has no {precision}")
    needed = [*format.builders, *format.quantizer[: precision == "int8"]]
    if not all(map(find_spec, needed)) or not any(
        find_spec(module) for module, _ in format.runtimes
    ):
        extras = [format.extra, *format.quantizer[1:] * (precision == "int8")]
        raise ImportError(f'not installed: pip install "stzoo[{",".join(extras)}]"')
    clips = None
    if precision == "int8":
        shape = (CALIBRATION, *model.input_shape[1:])
        clips = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    file, how = f"model{format.suffix}", (format, precision, None)
    write_export(model, path, file, how, clips, check=precision != "int8")
    return path


def _rows(name, form, prepare, backend, how):
    """Returns the rows of a backend or a runtime: one for each batch, or a problem."""
    about = {"runs_on": name, "form": form}
    try:
        folder = prepare()
        return [about | row for row in _in_process(folder, backend, how)]
    except (ImportError, RuntimeError, ValueError) as error:
        return [about | {"problem": str(error)}]


def _in_process(folder, backend, how):
    """Runs `stzoo.deploy.measure` for a folder."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if backend:
        env["KERAS_BACKEND"] = backend
    request = how | {"folder": str(folder), "started": time.time()}
    command = [sys.executable, "-W", "ignore", "-m", "stzoo.deploy.measure"]
    done = subprocess.run(
        [*command, json.dumps(request)], env=env, capture_output=True, text=True
    )
    if done.returncode:
        errors = re.findall(r"^[\w.]*(?:Error|Exception): .*", done.stderr, re.M)
        raise RuntimeError(errors[-1] if errors else f"exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def processor():
    """Returns the name of the processor of this machine."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    found = re.search(r"^model name\s*: (.*)", text, re.M)
    return found[1] if found else platform.processor() or platform.machine()
