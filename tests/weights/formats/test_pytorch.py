"""Checkpoints are read as PyTorch reads them, and hostile ones end in one error."""

import argparse
import collections
import contextlib
import io
import os
import random
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from stzoo.weights.formats import pytorch, pytorch_pickle
from stzoo.weights.formats.pytorch import read, read_safetensors


def saved(state, is_zip=True, **kwargs):
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=is_zip, **kwargs)
    return file.getvalue()


def zipped(steps, **records):
    """A checkpoint with these steps in its pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", steps)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for key, content in records.items():
            archive.writestr(f"archive/data/{key}", content)
    return file.getvalue()


def rewritten(data, change=lambda name, content: {name: content}, **kwargs):
    """A zip whose records are changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as stored:
        with zipfile.ZipFile(file, "w", **kwargs) as archive:
            for name in stored.namelist():
                for new, content in change(name, stored.read(name)).items():
                    archive.writestr(new, content)
    return file.getvalue()


def key(steps):
    """A dict whose key the steps make."""
    return zipped(b"\x80\x04}" + steps + b"K\x01s.")


def text(string):
    return b"X" + struct.pack("<I", len(string)) + string.encode()


def tensor(offset=b"K\0", shape=b"K\2\x85", strides=b"K\1\x85", size=b"K\2"):
    """The steps of a tensor `a` of a storage 0."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + b"N"
    return (
        b"\x80\x02}" + text("a") + b"ctorch._utils\n_rebuild_tensor\n("
        b"" + storage + size + b"tQ" + offset + shape + strides + b"tRs."
    )


def expected(data):
    """The tensors that PyTorch reads, as float32."""
    state = torch.load(io.BytesIO(data), weights_only=True)
    return {name: tensor.detach().float().numpy() for name, tensor in state.items()}


def assert_equal(found, arrays):
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == np.float32
        assert found[name].flags.aligned
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def kinds():
    floats = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
    integers = [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8]
    unsigned = [torch.uint16, torch.uint32, torch.uint64]
    return [*floats, *integers, *unsigned, torch.float8_e4m3fn, torch.bool]


def variety():
    """Tensors of each kind, and what tensors can share."""
    numbers = torch.from_numpy(np.random.default_rng(0).normal(0, 50, (5, 4)))
    state = {str(kind): numbers.to(kind) for kind in kinds()}
    base = torch.arange(60.0).reshape(3, 4, 5)
    views = {
        "base": base,
        "turned": base.permute(2, 0, 1),
        "part": base[1:, 1:3, ::2],
        "again": base,
        "expanded": base[0, 0, :1].expand(3, 2),
        "scalar": torch.tensor(7.5),
        "scalar_of_base": base[2, 1, 3],
        "empty": torch.zeros(0),
        "empty_too": torch.zeros(3, 0, 2),
        "large": torch.tensor([1e300, -1e300, np.nan], dtype=torch.float64),
        "strided": torch.arange(12, dtype=torch.bfloat16)[::3],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "with_attributes": torch.ones(2),
    }
    views["with_attributes"].decay = False
    return {**state, **views}


@pytest.mark.parametrize("is_zip", [True, False])
def test_each_kind_of_tensor(is_zip):
    """PyTorch itself cannot read all of them in the old format."""
    assert_equal(read(saved(variety(), is_zip)), expected(saved(variety())))


@pytest.mark.parametrize("is_zip", [True, False])
def test_tensors_by_name(is_zip):
    rng = np.random.default_rng(0)
    tensors = {f"layer{i}.weight": rng.normal(size=(3, 4)) for i in range(50)}
    state = {f"module.{n}": torch.from_numpy(t).half() for n, t in tensors.items()}
    state["module.layer0.weight"] = torch.nn.Parameter(state["module.layer0.weight"])
    more = {"epoch": 3, "lr": [(0.9, 0.99)] * 20, "best": np.float64(3.5)}
    found = read(saved({"state_dict": state, **more}, is_zip))
    assert_equal(found, {name: t.astype("float16") for name, t in tensors.items()})


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_network_and_what_lies_beside_it(is_zip):
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    adam = {"step": torch.tensor(1.0), "exp_avg": torch.ones(2, 3)}
    beside = {
        "optimizer": {"state": {0: adam}, "param_groups": [{"betas": (0.9, 0.999)}]},
        "args": argparse.Namespace(lr=0.1, size=torch.Size([2, 3])),
        "array": np.arange(6.0).reshape(2, 3),
        "scalars": [np.float32(1), np.int64(2), np.bool_(True)],
        "others": [{1, 2}, 3 + 4j, b"bytes", bytearray(b"more"), 2**70, "ä", None],
        "counter": collections.Counter("aab"),
        "kind": [torch.float16, torch.device("cuda:0")],
        "sparse": torch.eye(3).to_sparse(),
    }
    for wrapped in (
        {"state_dict": network.state_dict(), **beside},
        {"model_state": network.state_dict(), "cfg": "text"},
        {"model": {"state_dict": network.state_dict(), "epoch": 1}},
        network.state_dict(),
    ):
        found = read(saved(wrapped, is_zip))
        assert_equal(found, expected(saved(network.state_dict())))


def test_the_device_does_not_matter():
    data = saved({"a": torch.arange(3.0)}, False)
    found = read(data.replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:0"))
    assert_equal(found, {"a": np.arange(3)})


def test_a_part_of_a_storage_of_the_old_format():
    data = saved({"a": torch.arange(3.0)}, False)
    view = text("view") + b"K\1K\2\x87"  # its key, and two elements from the first on
    data = data.replace(b"K\3N", b"K\3" + view).replace(b"K\3\x85", b"K\2\x85")
    assert_equal(read(data), {"a": np.array([1, 2])})


def test_a_checkpoint_of_python_2():
    """Its text is bytes, and an `OrderedDict` a list of pairs."""
    call = tensor().removeprefix(b"\x80\x02}").removesuffix(b"s.") + b"ea"
    steps = b"\x80\x02ccollections\nOrderedDict\n]](" + call + b"\x85R"
    steps += b"}X\1\0\0\0sX\2\0\0\0\xff\xfesb."
    steps = re.sub(rb"X(.)\0\0\0", rb"U\1", steps)
    found = read(zipped(steps, **{"0": np.arange(2, dtype="float32").tobytes()}))
    assert_equal(found, {"a": np.arange(2)})


def test_newer_pickles_and_zip64(monkeypatch):
    data = saved({"a": torch.arange(3.0)}, pickle_protocol=4)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    assert_equal(read(rewritten(data)), {"a": np.arange(3)})


def test_a_zip_without_checksums():
    torch.serialization.set_crc32_options(False)
    try:
        data = saved({"a": torch.arange(3.0)})
    finally:
        torch.serialization.set_crc32_options(True)
    assert_equal(read(data), {"a": np.arange(3)})


def test_a_file_may_hold_a_number_in_each_byte():
    assert_equal(read(saved({"a": torch.ones(9000).bool()})), {"a": np.ones(9000)})


def test_float32_is_not_copied():
    data = saved({"a": torch.zeros(10**6)})
    tracemalloc.start()
    read(data)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_without_pytorch(tmp_path):
    (tmp_path / "a.pth").write_bytes(saved({"a": torch.arange(3).bfloat16()}))
    (tmp_path / "b.pth").write_bytes(saved({"a": torch.arange(3).half()}, False))
    (tmp_path / "c").write_bytes(safetensors.torch.save({"a": torch.arange(3)}))
    code = """if True:
        import sys
        from pathlib import Path
        sys.modules["torch"] = None
        from stzoo.weights.formats.pytorch import read, read_safetensors
        for name, reader in [("a.pth", read), ("b.pth", read), ("c", read_safetensors)]:
            assert reader(Path(name).read_bytes())["a"].tolist() == [0, 1, 2]
    """
    environ = {name: os.environ[name] for name in os.environ.keys() - {"KERAS_BACKEND"}}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environ)


def test_safetensors_of_each_kind():
    state = {name: t for name, t in variety().items() if name.startswith("torch.")}
    data = safetensors.torch.save({f"module.{name}": t for name, t in state.items()})
    assert_equal(read_safetensors(data), expected(saved(state)))


HUGE = torch.zeros(1).expand(10**5, 10**5)
SHARED = torch.zeros(10_000)
MORE = "more than tensors"
LONG = b"\x8a\x09" + b"\xff" * 8 + b"\0"  # 2**64 - 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (saved({"a": HUGE}), "bytes would expand to 10000000000 numbers"),
        (saved({"a": HUGE}, False), "bytes would expand to 10000000000 numbers"),
        (saved({str(i): SHARED for i in range(999)}), "expand to 9990000 numbers"),
        (
            saved({"a": torch.zeros(1).half().expand(1000), "b": torch.zeros(10)}),
            "expand to 1010 numbers",
        ),
        (
            saved(
                {
                    "a": torch.zeros(9000).bool()[:1],
                    "b": torch.ones(1).half().expand(9000),
                }
            ),
            "expand to 9001 numbers",
        ),
        (
            rewritten(
                saved({"a": torch.zeros(10**6)}), compression=zipfile.ZIP_DEFLATED
            ),
            "bytes would expand to 40",
        ),
        (
            rewritten(saved({"a": torch.rand(9)}), compression=zipfile.ZIP_BZIP2),
            "is compressed or encrypted",
        ),
        (key(b"K\x01" + b"\x85" * 100_000), MORE),
        (key(b"K\x01" + b"2\x86" * 60), MORE),
        (key(b"K\x01" + b"q\x01h\x01\x86" * 60), MORE),
        (key(b"K\x01" + b"".join(b"\x94h%c\x86" % i for i in range(60))), MORE),
        (key(b"(" + b"K\x01" * 101 + b"t"), MORE),
        (zipped(b"\x80\x02]r\0\0\0\x40."), MORE),  # a memo of 2**30 places
        (zipped(b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"."), "bytearray8"),
        (zipped(b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"."), "unicodestring8"),
        (zipped(b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"."), "long4"),
        (zipped(b"\x80\x02X\xff\xff\xff\xffa."), "unicodestring4"),
        (zipped(b"\x80\x04" + b"\x8f" * 9 + b"."), MORE),  # sets
        (zipped(b"\x80\x02\x82\1."), MORE),  # a class of a registry
        (zipped(b"\x80\x02(cos\nsystem\no."), MORE),
        (zipped(b"\x80\x02(ios\nsystem\n."), MORE),
        (
            zipped(b"\x80\x04\x95" + struct.pack("<Q", 9) + b"}." + bytes(9)),
            "two ends",
        ),
        (zipped(b"\x80\x02s."), "arguments for SETITEM"),
        (zipped(b"\x80\x02}(s."), "arguments for SETITEM"),
        (zipped(b"\x80\x02h\x07."), "not a dict of tensors"),
        (zipped(b"\x80\x02t."), "lacks a mark"),
        (saved({"a": torch.zeros(9)})[:-30], "not a zip, or it is damaged"),
        (saved({"a": torch.zeros(9)}, False)[:-3], "ends within the storage"),
        (b"", "exhausted"),
        (b"<html>", "unknown"),
        (b"\x80\x02K\1.", "does not start like a PyTorch checkpoint"),
        (
            saved({}, False).replace(b"M\xe9\x03", b"M\xe8\x03"),
            "format version is 1000",
        ),
        (saved([torch.zeros(2)]), "not a dict of tensors"),
        (saved({"a": 5}), r"its 'a' is not a tensor \(int\)"),
        (saved({5: torch.zeros(2)}), "not a dict of tensors"),
        (
            zipped(b"\x80\x02}" + text("a") + b"K\1sq\1" + text("model") + b"h\1s."),
            "but a dict",
        ),
        (
            saved({"a": torch.eye(3).to_sparse()}),
            r"is not a tensor \(torch._utils._rebuild_sparse",
        ),
        (saved({"a": torch.zeros(2, device="meta")}), "_rebuild_meta_tensor"),
        (saved({"a": torch.zeros(2, dtype=torch.cfloat)}), "torch.ComplexFloatStorage"),
        (saved({"a": torch._neg_view(torch.zeros(2))}), "a tensor with {'neg': True}"),
        (saved({"module.a": SHARED, "a": SHARED}), "'a' twice"),
        (saved({"\udc80": SHARED[:2].clone()}), "a name that is not valid text"),
        (zipped(tensor()), "has no 'archive/data/0'"),
        (zipped(tensor(), **{"0": bytes(7)}), "'a' needs 8 bytes, but has 7"),
        (zipped(tensor(offset=b"K\1"), **{"0": bytes(8)}), "needs 3 numbers"),
        (zipped(tensor(strides=b"K\2\x85"), **{"0": bytes(8)}), "needs 3 numbers"),
        (zipped(tensor(shape=b"K\3\x85"), **{"0": bytes(99)}), "needs 3 numbers"),
        (zipped(tensor(shape=b"J\xff\xff\xff\xff\x85")), "has the size -1"),
        (zipped(tensor(strides=b"J\xff\xff\xff\xff\x85")), "has the size -1"),
        (zipped(tensor(offset=b"J\xff\xff\xff\xff")), "has the size -1"),
        (zipped(tensor(size=b"J\xff\xff\xff\xff")), "has the size -1"),
        (zipped(tensor(shape=LONG + b"\x85")), "has the size 18446744073709551615"),
        (zipped(tensor(shape=b"G" + bytes(8) + b"\x85")), "has the size 0.0"),
        (zipped(tensor(shape=b"]K\2a")), "tensor of shape"),
        (zipped(tensor(shape=b"K\2K\2\x86")), "lengths|longer|shorter"),
        (zipped(tensor(shape=b"(" + b"K\1" * 33 + b"t")), "a tensor of shape"),
        (zipped(tensor().replace(b"tQ", b"lQ")), MORE),
        (zipped(b"\x80\x02]Q."), "refers to"),
        (
            zipped(b"\x80\x02}" + b"X\1\0\0\0aK\1sb."),
            MORE + "|lacks a mark or arguments",
        ),
        (b"\0" * 257 + b"ustar", "is a tar file from before PyTorch 0.1.10"),
        (
            rewritten(
                saved({"a": SHARED}), lambda n, c: {n: c.replace(b"little", b"big")}
            ),
            "not little-endian",
        ),
        (
            rewritten(saved({"a": SHARED}), lambda n, c: {f"/etc/{n}": c}),
            "one data.pkl",
        ),
    ],
)
def test_what_is_wrong_ends_in_one_error(data, message):
    tracemalloc.start()
    with pytest.raises(ValueError, match=message) as info:
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(data) + 2_000_000
    assert len(str(info.value)) < 400


RUN = b"X\x06\0\0\0import\x85R."


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "posix.system", "builtins.eval", "builtins.getattr"),
        *("__builtin__.exec", "builtins.__import__", "subprocess.Popen", "numpy.load"),
        *("numpy.zeros", "numpy.lib.npyio.load", "torch.load", "torch.hub.load"),
        *("torch._utils._rebuild_qtensor", "stzoo.load", "pickle.loads", "a.b"),
        *("collections.OrderedDict.fromkeys", "torch.storage._load_from_bytes"),
    ],
)
def test_what_a_pickle_may_not_name(name):
    module, _, last = name.rpartition(".")
    named = f"c{module}\n{last}\n".encode()
    said = re.sub("^(__builtin__|builtins).", "", name)
    newer = b"\x80\x04" + text(module) + text(last) + b"\x93"
    legacy = saved({}, False)
    start = legacy.index(b"\x80\x02}q\0.")
    for steps in (b"\x80\x02" + named + RUN, newer + RUN):
        for data in (zipped(steps), legacy[:start] + steps):
            with pytest.raises(
                ValueError, match=f"it needs {said}, which is not allowed"
            ):
                read(data)


def test_a_pickle_cannot_change_what_stands_for_its_names():
    """BUILD sets attributes of anything: objects, functions, even classes."""
    before = {name: dict(vars(part)) for name, part in stand_ins().items()}
    state = b"N}" + text("__init__") + b"K\1s\x86b"
    for name in stand_ins():
        module, _, last = name.rpartition(".")
        named = b"\x80\x02c" + module.encode() + b"\n" + last.encode() + b"\n"
        for made in (b"", b")R", b")\x81", b"](K\1K\2e\x85R"):
            with contextlib.suppress(ValueError):
                read(zipped(named + made + state + b"."))
    assert before == {name: dict(vars(part)) for name, part in stand_ins().items()}


def stand_ins():
    parts = pytorch_pickle.GLOBALS.items()
    return {name: part for name, part in parts if not isinstance(part, str)}


def test_dicts_of_one_list_are_not_more_than_the_list():
    pairs = (
        b"](" + b"".join(b"]M%c%ca]a" % divmod(i, 256) for i in range(5000)) + b"eq\1"
    )
    dicts = b"(" + b"ccollections\nOrderedDict\nq\2h\1\x85R" + b"h\2h\1\x85R" * 2000
    tracemalloc.start()
    with pytest.raises(ValueError, match="but a list"):
        read(zipped(b"\x80\x02" + pairs + b"]" + dicts + b"e."))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_pickle_of_more_steps_than_a_network_takes(monkeypatch):
    monkeypatch.setattr(pytorch_pickle, "STEPS", 100)
    assert read(saved({"a": torch.zeros(2)})).keys() == {"a"}
    assert read(zipped(b"\x80\x02}" + text("model") + b"}s.")) == {}
    with pytest.raises(ValueError, match=MORE):
        read(zipped(b"\x80\x02}" + text("model") + b"](" + b"N" * 100 + b"es."))


def test_a_zip_of_more_records_than_a_network_takes(monkeypatch):
    monkeypatch.setattr(pytorch, "RECORDS", 10)
    assert read(saved({"a": torch.zeros(2)})).keys() == {"a"}
    with pytest.raises(ValueError, match="more than 10 records"):
        read(saved({str(i): torch.zeros(2) for i in range(10)}))


def test_a_record_is_whole_plain_and_there_once():
    data = saved({"a": torch.ones(2)})
    part = data.index(b"\0\0\x80\x3f")
    entry = data.rindex(b"PK\1\2", 0, data.rindex(b"data/0"))
    head = data.rindex(b"PK\3\4", 0, part)
    for at, message in [
        (part, "damaged"),
        (head, "wrong offset"),
        (entry + 8, "encrypted"),
    ]:
        with pytest.raises(ValueError, match=f"'archive/data/0' (is|has) .*{message}"):
            read(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    twice = data.replace(b"archive/version", b"archive/data/0\0")
    with pytest.raises(ValueError, match="no name twice"):
        read(twice)


def test_names_in_a_zip_are_names_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = saved({"a": torch.arange(3.0)})
    more = rewritten(data, lambda n, c: {n: c, f"../{n}": c, f"/tmp/{n}": c})
    assert_equal(read(more), {"a": np.arange(3)})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="has no 'archive/data/../../0'"):
        read(zipped(tensor().replace(text("0"), text("../../0"))))


def damaged(data, rng):
    """Data with a bit that is another, or with an end or a middle that is missing."""
    at, end = sorted(rng.randrange(len(data)) for _ in range(2))
    match rng.randrange(4):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[end:]
        case 2:
            return data[:at] + rng.randbytes(end - at) + data[end:]
        case _:
            return (
                data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            )


@pytest.mark.parametrize("is_zip", [True, False])
def test_damaged_files(is_zip):
    """A zip has checksums. In the old format, another number can be right."""
    rng = random.Random(0)
    data = saved({"state_dict": variety(), "epoch": 3}, is_zip)
    whole = read(data)
    tracemalloc.start()
    for _ in range(150):
        try:
            found = read(damaged(data, rng))
        except ValueError as error:
            assert str(error)
            continue
        if is_zip:
            assert_equal(found, whole)
        assert all(array.dtype == np.float32 for array in found.values())
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_what_is_no_safetensors():
    with pytest.raises(ValueError, match="eader"):
        read_safetensors(b"<html>")
