"""Checkpoints of PyTorch are read as they are, and hostile ones end in one error."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from stzoo.weights.formats import pytorch
from stzoo.weights.formats.pytorch import read, read_safetensors


def saved(state, **kwargs):
    file = io.BytesIO()
    torch.save(state, file, **kwargs)
    return file.getvalue()


def zipped(steps):
    """A checkpoint with these steps in its pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", steps)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return file.getvalue()


def deflated(data):
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as stored:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in stored.namelist():
                archive.writestr(name, stored.read(name))
    return file.getvalue()


def key(steps):
    """A dict whose key the steps make."""
    return zipped(b"\x80\x04}" + steps + b"K\x01s.")


@pytest.mark.parametrize("is_zip", [True, False])
def test_tensors_by_name(is_zip):
    rng = np.random.default_rng(0)
    tensors = {f"layer{i}.weight": rng.normal(size=(3, 4)) for i in range(50)}
    state = {f"module.{n}": torch.from_numpy(t).half() for n, t in tensors.items()}
    state["module.layer0.weight"] = torch.nn.Parameter(state["module.layer0.weight"])
    more = {"epoch": 3, "lr": [(0.9, 0.99)] * 20, "best": np.float64(3.5)}
    data = saved({"state_dict": state, **more}, _use_new_zipfile_serialization=is_zip)
    found = read(data)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor.astype("float16"))


HUGE = torch.zeros(1).expand(10**5, 10**5)
SHARED = torch.zeros(10_000)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (saved({"a": HUGE}), "bytes would become 10000000000 numbers"),
        (
            saved({"a": HUGE}, _use_new_zipfile_serialization=False),
            "bytes would become 10000000000 numbers",
        ),
        (saved({str(i): SHARED for i in range(999)}), "become 9990000 numbers"),
        (deflated(saved({"a": torch.zeros(10**6)})), "bytes would become 40"),
        (key(b"K\x01" + b"\x85" * 100_000), "more than tensors"),
        (key(b"K\x01" + b"2\x86" * 60), "more than tensors"),
        (key(b"K\x01" + b"q\x01h\x01\x86" * 60), "more than tensors"),
        (
            key(b"K\x01" + b"".join(b"\x94h%c\x86" % i for i in range(60))),
            "more than tensors",
        ),
        (key(b"(" + b"K\x01" * 101 + b"t"), "more than tensors"),
        (zipped(b"\x80\x02s."), "no tensors by their names"),
        (zipped(b"\x80\x02h\x07."), "no tensors by their names"),
        (zipped(b"\x80\x02t."), "mark"),
        (saved({"a": torch.zeros(9)})[:-30], "no whole zip"),
        (b"", "exhausted"),
        (b"<html>", "unknown"),
        (saved([torch.zeros(2)]), "no tensors by their names"),
        (saved({"a": 5}), "its 'a' is no tensor"),
        (saved({5: torch.zeros(2)}), "no tensors by their names"),
        (saved({"a": torch.zeros(3, 3).to_sparse()}), "Sparse"),
    ],
)
def test_what_is_wrong_ends_in_one_error(data, message):
    tracemalloc.start()
    with pytest.raises(ValueError, match=message) as info:
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
    assert len(str(info.value)) < 400


def test_a_pickle_of_more_steps_than_a_network_takes(monkeypatch):
    monkeypatch.setattr(pytorch, "STEPS", 100)
    assert read(saved({"a": torch.zeros(2)})).keys() == {"a"}
    with pytest.raises(ValueError, match="more than tensors"):
        read(zipped(b"\x80\x02}" + b"N0" * 50 + b"."))


def test_what_is_no_safetensors():
    with pytest.raises(ValueError, match="eader"):
        read_safetensors(b"<html>")
