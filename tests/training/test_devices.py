"""Several devices (here CPUs) and processes. Each run has a new process."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tiny
from harness import close

import stzoo
from stzoo.training import devices

RUN = """
import sys
import keras
from stzoo.data import datasets
from stzoo.training.devices import distribute
from stzoo.training.finetune import finetune
from tiny import RECIPE, build

keras.utils.set_random_seed(0)
videos = datasets.read(sys.argv[1])

def run(folder, seed=0):
    recipe = RECIPE.resized(batch_size=4)
    finetune(build(), videos, folder, recipe, videos, seed, verbose=0)
"""
KILL = """
import os, signal

class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 2:
            os.kill(os.getpid(), signal.SIGKILL)

fit = keras.Model.fit
keras.Model.fit = lambda self, *args, callbacks, **kwargs: fit(
    self, *args, callbacks=[*callbacks, Kill()], **kwargs
)
"""
ONE, COUNT, NUMBER = (
    f"KERAS_DISTRIBUTION_{name}"
    for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
)


@pytest.fixture(scope="module")
def start(motion_folder):
    """Starts a process with several devices, which runs code after `RUN`."""

    def start(code, count=1, **env):
        env |= {
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": os.pathsep.join((str(Path(tiny.__file__).parent), *sys.path)),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
        }
        return subprocess.Popen(
            [sys.executable, "-c", RUN + code, str(motion_folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **env},
        )

    return start


@pytest.fixture
def together(start):
    """Runs code in two processes. Returns their exit codes and outputs."""

    def together(code):
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        env = {ONE: address, COUNT: "2"}
        processes = [start(code, **env, **{NUMBER: str(number)}) for number in (0, 1)]
        said = [process.communicate()[0] for process in processes]
        return [process.returncode for process in processes], "\n".join(said)

    return together


@pytest.fixture(scope="module")
def one_and_four(start, tmp_path_factory):
    """The folder of a run with one device, and that of a run with four."""
    one, four = (tmp_path_factory.mktemp(name) / "run" for name in ("one", "four"))
    process = start(f"run({str(one)!r})\ndistribute()\nrun({str(four)!r})", 4)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return one, four


def same(folder, expected):
    """Checks that two runs agree except for rounding, since sums have another order.

    Weights are compared as one vector, and so are momenta: in single elements,
    gradients of opposite sign cancel and leave little more than rounding errors.
    """
    model = stzoo.load(folder), stzoo.load(expected)
    close(*(np.concatenate([w.ravel() for w in m.get_weights()]) for m in model))
    with np.load(folder / "state.npz") as one, np.load(expected / "state.npz") as other:
        assert one.files == other.files
        histories = [json.loads(str(file["history"])) for file in (one, other)]
        count = len(model[0].trainable_weights)
        numbers = range(len(one.files) - 1 - count, len(one.files) - 1)
        found, wanted = (
            np.concatenate([file[str(number)].ravel() for number in numbers])
            for file in (one, other)
        )
    assert np.linalg.norm(found - wanted) < 1e-4 * np.linalg.norm(wanted)
    assert len(histories[1]) == 3
    # Training amplifies rounding: the losses of three epochs differ by up to 5e-5 on an
    # AMD EPYC with AVX-512.
    for row, wanted in zip(*histories, strict=True):
        assert row == pytest.approx(wanted, rel=1e-3)


@pytest.mark.slow
def test_four_devices_match_one(one_and_four):
    one, four = one_and_four
    same(four, one)


@pytest.mark.slow
def test_two_processes_match_one(one_and_four, together, tmp_path):
    codes, said = together(f"distribute()\nrun({str(tmp_path / 'run')!r})")
    assert codes == [0, 0], said
    same(tmp_path / "run", one_and_four[0])


@pytest.mark.slow
def test_two_killed_processes_resume(one_and_four, together, tmp_path):
    """They are killed in the middle of their second epoch."""
    code = f"distribute()\nrun({str(tmp_path / 'run')!r})"
    codes, said = together(KILL + code)
    assert codes == [-signal.SIGKILL] * 2, said
    with np.load(tmp_path / "run" / "state.npz") as state:
        assert len(json.loads(str(state["history"]))) == 1
    codes, said = together(code)
    assert codes == [0, 0], said
    same(tmp_path / "run", one_and_four[0])


@pytest.mark.slow
def test_processes_with_different_trainings_are_refused(together, tmp_path):
    code = f"""
import os
distribute()
seed = int(os.environ["{NUMBER}"])
try:
    run({str(tmp_path)!r} + f"/{{seed}}", seed)
except ValueError as error:
    print(error)
"""
    codes, said = together(code)
    assert codes == [0, 0], said
    assert said.count("The 2 processes do not run the same training") == 2


def test_a_batch_that_cannot_be_shared_equally_is_refused(monkeypatch):
    mesh = SimpleNamespace(devices=np.array(["cpu:0", "cpu:1", "cpu:2"]))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert devices.shard(batch=4) == (0, 1)
    three = SimpleNamespace(device_mesh=mesh)
    monkeypatch.setattr(keras.distribution, "distribution", lambda: three)
    assert devices.shard(batch=6) == (0, 1)
    with pytest.raises(ValueError, match="batch of 4 .* among 3 devices"):
        devices.shard(batch=4)


def test_other_backends_are_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match="needs JAX. The backend is torch"):
        devices.distribute()
