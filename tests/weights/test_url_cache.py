"""Archives of weights, through huggingface_hub's own client, from loopback."""

import hashlib
import io
import sys

import numpy as np
import pytest
import torch
from foreign import params, zipped
from safetensors.numpy import load_file

from stzoo.weights import hub as files
from stzoo.weights import url_cache

TENSORS = {
    f"layer{i}.weight": np.random.default_rng(i).normal(size=10_000) for i in range(4)
}
PARAMS = params(TENSORS)
ZIP = zipped({"model-1234.params": PARAMS})


def address(hub, sha1=None):
    sha1 = sha1 or hashlib.sha1(PARAMS).hexdigest()
    return f"{hub.url}/gluon/models/resolve/main/model-1234.zip#sha1={sha1}"


@pytest.fixture
def served(hub, monkeypatch):
    # The client writes 10 MB at a time, and loses of them what a cut leaves.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.repositories["gluon/models"] = {"model-1234.zip": ZIP}
    return hub


def kept(hub):
    return {
        "weights" if path.suffix == ".safetensors" else path.name
        for path in (hub.cache / "assets").rglob("*")
        if path.is_file() and path.name != "lock"
    }


def assert_whole(path):
    found = load_file(path)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(found[name], tensor)


def test_an_archive_is_fetched_and_converted_once(served):
    assert_whole(url_cache.fetch(address(served)))
    assert kept(served) == {"weights"}
    served.close()
    assert_whole(files.fetch(address(served), files.WEIGHTS))
    assert served.fetched("model-1234.zip") == 1


def test_damaged_weights_are_replaced(served):
    path = url_cache.fetch(address(served))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert_whole(url_cache.fetch(address(served)))
    assert kept(served) == {"weights"}
    assert served.fetched("model-1234.zip") == 2


def test_damaged_weights_stay_where_nothing_can_replace_them(served):
    path = url_cache.fetch(address(served))
    path.write_bytes(b"damaged")
    served.close()
    with pytest.raises(ConnectionError):
        url_cache.fetch(address(served))
    assert path.read_bytes() == b"damaged"


def test_a_cache_that_cannot_be_written_serves(served, monkeypatch):
    url_cache.fetch(address(served))
    monkeypatch.setattr("huggingface_hub.utils.WeakFileLock", None)
    assert_whole(url_cache.fetch(address(served)))


def test_what_a_killed_process_left_is_put_away(served):
    where = f"{served.url}/{'gone'}/resolve/main/model-1234.zip"
    where += address(served).partition(".zip")[2]
    url_cache.fetch(f"{address(served).partition('#')[0]} {where}")
    folder = next((served.cache / "assets").rglob("*.safetensors")).parent
    next(folder.glob("*.safetensors")).unlink()
    for name in ("0.part", "1.part", "old.safetensors"):
        (folder / name).write_bytes(b"")
    (folder / "archive").write_bytes(ZIP)  # it had arrived
    served.close()
    assert_whole(url_cache.fetch(address(served)))
    assert kept(served) == {"weights"}


def test_a_cut_download_goes_on_in_the_next_call(served):
    served.cut["model-1234.zip"] = len(ZIP) // 2
    with pytest.raises(ConnectionError, match="download of .*model-1234.zip failed"):
        url_cache.fetch(address(served))
    assert kept(served) == {"0.part"}
    served.cut.clear()
    size = next((served.cache / "assets").rglob("0.part")).stat().st_size
    assert size > len(ZIP) // 2 - 1000
    only_the_rest = bytes(size) + ZIP[size:]
    served.repositories["gluon/models"]["model-1234.zip"] = only_the_rest
    assert_whole(url_cache.fetch(address(served)))


def test_a_server_that_begins_anew_every_time(served):
    served.ranges = False
    served.cut["model-1234.zip"] = len(ZIP) // 2
    with pytest.raises(ConnectionError, match="connection was lost several times"):
        files.fetch(address(served), files.WEIGHTS)
    served.cut.clear()
    assert_whole(url_cache.fetch(address(served)))


def test_a_part_that_is_too_long_is_dropped(served):
    served.cut["model-1234.zip"] = len(ZIP) // 2
    with pytest.raises(ConnectionError):
        url_cache.fetch(address(served))
    part = next((served.cache / "assets").rglob("0.part"))
    part.write_bytes(ZIP + ZIP)
    served.cut.clear()
    with pytest.raises((ConnectionError, ValueError), match="model-1234.zip"):
        url_cache.fetch(address(served))
    assert kept(served) == set()
    assert_whole(url_cache.fetch(address(served)))


def test_without_network(served):
    served.close()
    with pytest.raises(ConnectionError, match="download of .*model-1234.zip failed"):
        url_cache.fetch(address(served))


def test_an_archive_that_is_gone(served):
    del served.repositories["gluon/models"]["model-1234.zip"]
    with pytest.raises(
        FileNotFoundError, match=r"model-1234.zip is not available .*404"
    ):
        url_cache.fetch(address(served))


def test_a_url_has_weights_only(served):
    with pytest.raises(FileNotFoundError, match="has only weights, no config.json"):
        files.fetch(address(served), files.CONFIG)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ZIP[:-30], "not a zip, or it is damaged"),
        (b"<html>sign in</html>", "not a zip, or it is damaged"),
        (zipped({"readme.txt": b""}), "one .params file, but has \\[\\]"),
        (zipped({"a.params": b"", "b.params": b""}), r"one .params .* has .'a.params'"),
        (zipped({f"{i}.params": b"" for i in range(99)}), r"one .params .* \.\.\."),
        (
            zipped({"a.params": bytes(10**6)}),
            "its [0-9]+ bytes would expand to 1000000",
        ),
        (zipped({"a.params": PARAMS[:-1]}), "its sha1 is .*, but must be"),
        (ZIP.replace(b"PK\1\2", b"PK\1\3"), "not a zip, or it is damaged"),
        (ZIP[:200] + bytes(99) + ZIP[299:], "not a zip, or it is damaged"),
    ],
    ids=["cut", "page", "empty", "two", "many", "bomb", "hash", "entry", "damaged"],
)
def test_what_is_wrong_is_not_kept(served, data, message):
    served.repositories["gluon/models"]["model-1234.zip"] = data
    with pytest.raises(ValueError, match=f"model-1234.zip: .*{message}"):
        url_cache.fetch(address(served))
    assert kept(served) == set()
    served.repositories["gluon/models"]["model-1234.zip"] = ZIP
    assert_whole(url_cache.fetch(address(served)))


def test_the_right_hash_of_what_is_no_file_of_mxnet(served):
    served.repositories["gluon/models"]["model-1234.zip"] = zipped({"a.params": b"?"})
    sha1 = hashlib.sha1(b"?").hexdigest()
    with pytest.raises(ValueError, match="at byte 0, it needs 8 more bytes, but has 1"):
        url_cache.fetch(address(served, sha1))


def checkpoint(**more):
    file = io.BytesIO()
    tensors = {f"module.{name}": torch.from_numpy(t) for name, t in TENSORS.items()}
    torch.save({"state_dict": tensors, "epoch": 3, **more}, file)
    return file.getvalue()


@pytest.fixture
def pth(served):
    """A function that serves a checkpoint and returns the end of its address."""

    def serve(data, repository="mm/models", name=None):
        name = name or f"tsn-{hashlib.sha256(data).hexdigest()[:8]}.pth"
        served.repositories[repository] = {name: data}
        return f"{repository}/resolve/main/{name}"

    return serve


def assert_tensors(path):
    found = load_file(path)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(found[name], tensor.astype("float32"))


def test_a_checkpoint_of_pytorch_has_its_hash_in_its_name(served, pth):
    where = f"{served.url}/{pth(checkpoint())}"
    assert url_cache.is_url(where)
    assert_tensors(url_cache.fetch(where))
    assert_tensors(url_cache.fetch(where))
    assert served.fetched(".pth") == 1
    assert kept(served) == {"weights"}


def test_a_checkpoint_with_another_hash_is_not_kept(served, pth):
    where = f"{served.url}/{pth(checkpoint(), name='tsn-0123abcd.pth')}"
    with pytest.raises(ValueError, match="its sha256 is .*, but must be 0123abcd"):
        url_cache.fetch(where)
    assert kept(served) == set()


def test_a_checkpoint_without_a_hash_is_not_fetched(served, pth):
    where = f"{served.url}/{pth(checkpoint(), name='tsn_e50.pth')}"
    with pytest.raises(ValueError, match="tsn_e50.pth cannot be verified"):
        url_cache.fetch(where)
    assert served.fetched(".pth") == 0


def test_nothing_of_a_checkpoint_is_run(served, pth, capsys):
    class Code:
        def __reduce__(self):
            return print, ("unpickled",)

    where = f"{served.url}/{pth(checkpoint(meta=Code()))}"
    with pytest.raises(ValueError, match="it needs print, which is not allowed"):
        url_cache.fetch(where)
    assert kept(served) == set()
    assert capsys.readouterr().out == ""


def test_a_mirror_on_the_hub_helps_out(served, pth, monkeypatch):
    """When the first address has gone, and when it does not answer."""
    data = checkpoint()
    name = pth(data, "someone/copies").rpartition("/")[2]
    mirror = f"hf://someone/copies/{name}"
    for first in (f"{served.url}/gone/resolve/main", "http://127.0.0.1:9"):
        path = url_cache.fetch(f"{first}/{name} {mirror}")
        assert_tensors(path)
        path.unlink()
    del served.repositories["someone/copies"]
    with pytest.raises(
        ConnectionError, match=f"9/{name} failed.*copies.*is not available"
    ):
        url_cache.fetch(f"http://127.0.0.1:9/{name} {mirror}")


def test_pytorch_is_not_needed(served, pth, monkeypatch):
    where = f"{served.url}/{pth(checkpoint())}"
    monkeypatch.setitem(sys.modules, "torch", None)
    assert_tensors(url_cache.fetch(where))
