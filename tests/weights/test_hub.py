"""huggingface_hub's own client against a Hub on loopback."""

import hashlib
import os
import subprocess
import sys

import pytest
from loopback_hub import COMMIT, Handler

import stzoo.weights.hub
from stzoo.weights.hub import (
    CONFIG,
    WEIGHTS,
    evict,
    fetch,
    namespace,
    shipped,
    stated_sha256,
)

WHERE = "hf://zoo/model"
DATA = bytes(range(256)) * 1000


@pytest.fixture
def served(hub):
    hub.repositories["zoo/model"] = {CONFIG: b"{}", WEIGHTS: DATA}
    return hub


def cached(hub):
    """The files in the cache, the client's own notes aside."""
    blobs = (hub.cache / "models--zoo--model").glob("blobs/*")
    return [path for path in blobs if path.is_file()]


def test_a_file_is_fetched_once_and_then_comes_from_the_cache(served):
    assert fetch(WHERE, WEIGHTS).read_bytes() == DATA
    assert fetch(WHERE, WEIGHTS).read_bytes() == DATA
    assert served.fetched(WEIGHTS) == 1
    assert f"/zoo/model/resolve/main/{WEIGHTS}" in dict(served.requests).values()


@pytest.mark.parametrize("revision", ["v1.0", "refs%2Fpr%2F1", COMMIT])
def test_a_revision_is_asked_for(served, revision):
    served.revisions.add(revision)
    where = f"{WHERE}@{revision.replace('%2F', '/')}"
    assert fetch(where, WEIGHTS).read_bytes() == DATA
    assert served.requests[0][1] == f"/zoo/model/resolve/{revision}/{WEIGHTS}"


def test_without_network_the_cache_serves(served):
    fetch(WHERE, WEIGHTS)
    served.close()
    assert fetch(WHERE, WEIGHTS).read_bytes() == DATA


def test_without_network_and_cache(served):
    served.close()
    with pytest.raises(ConnectionError, match="zoo/model@main/config.json .*be reach"):
        fetch(WHERE, CONFIG)
    assert served.waits == [1, 2, 4, 8, 8]  # the client's own patience


def test_what_is_no_hub(served, monkeypatch):
    monkeypatch.setattr(Handler, "send_header", lambda *_: None)
    monkeypatch.setattr(Handler, "protocol_version", "HTTP/1.0")
    with pytest.raises(ConnectionError, match="zoo/model@main/config.json .*endpoint"):
        fetch(WHERE, CONFIG)


def test_a_hub_that_is_down(served, monkeypatch):
    monkeypatch.setattr(Handler, "answer", lambda self, body: self.refuse(503, ""))
    with pytest.raises(ConnectionError, match="zoo/model@main/config.json .*503"):
        fetch(WHERE, CONFIG)


def test_offline_mode_from_the_environment(served):
    fetch(WHERE, CONFIG)
    code = (  # of a fresh process, since the client reads its environment once
        "import runpy, sys; fetch = runpy.run_path(sys.argv[1])['fetch']\n"
        "print(fetch(sys.argv[2], 'config.json').read_text())\n"
        "try: fetch(sys.argv[2], 'model.safetensors')\n"
        "except ConnectionError as error: print(error)"
    )
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(served.cache),
        "HF_ENDPOINT": served.url,
    }
    asked = len(served.requests)
    done = subprocess.run(
        [sys.executable, "-c", code, stzoo.weights.hub.__file__, WHERE],
        env=environment,
        capture_output=True,
        text=True,
    )
    config, error = done.stdout.splitlines()
    assert config == "{}"
    assert "hf://zoo/model@main/model.safetensors is not in the cache" in error
    assert "HF_HUB_OFFLINE" in error
    assert len(served.requests) == asked


@pytest.mark.parametrize("plain", [False, True])
def test_no_such_repository(served, plain):
    served.plain = plain  # without the Hub's own error codes
    with pytest.raises(FileNotFoundError, match="zoo/other@main.*no such repository"):
        fetch("hf://zoo/other", WEIGHTS)


def test_no_such_revision(served):
    with pytest.raises(FileNotFoundError, match="zoo/model@v2.*no such revision"):
        fetch(WHERE + "@v2", WEIGHTS)


def test_no_such_file(served):
    del served.repositories["zoo/model"][WEIGHTS]
    with pytest.raises(FileNotFoundError, match="model.safetensors.*no such file"):
        fetch(WHERE, WEIGHTS)
    served.repositories["zoo/model"][WEIGHTS] = DATA
    assert fetch(WHERE, WEIGHTS).read_bytes() == DATA


def test_a_gated_repository_opens_with_a_token(served, monkeypatch):
    served.gated["zoo/model"] = "secret"
    for token in ("", "wrong"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(FileNotFoundError, match="zoo/model@main/.*HF_TOKEN"):
            fetch(WHERE, WEIGHTS)
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert fetch(WHERE, WEIGHTS).read_bytes() == DATA


def test_a_private_repository_without_a_word_why(served):
    served.gated["zoo/model"] = "secret"
    served.plain = True
    with pytest.raises(FileNotFoundError, match="zoo/model@main/.*HF_TOKEN"):
        fetch(WHERE, WEIGHTS)


@pytest.mark.parametrize("where", ["hf://", "hf://a/b/c", "hf://a b/c", "hf://a/..b"])
def test_no_name_of_a_repository(hub, where):
    with pytest.raises(ValueError, match=where):
        fetch(where, WEIGHTS)
    assert hub.requests == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_is_cut_once_is_taken_up_again(served, ranges):
    served.ranges = ranges
    served.cut[WEIGHTS], served.cuts = 100_000, 1
    assert fetch(WHERE, WEIGHTS).read_bytes() == DATA
    assert served.fetched(WEIGHTS) == 2


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    "size", [len(DATA), 24_000_000]
)  # more than the client's chunk
def test_a_connection_that_is_always_cut(served, ranges, size):
    data = served.repositories["zoo/model"][WEIGHTS] = bytes(size)
    served.ranges = ranges
    served.cut[WEIGHTS] = size // 2
    with pytest.raises(
        ConnectionError, match="zoo/model@main/model.safetensors failed"
    ):
        fetch(WHERE, WEIGHTS)
    assert served.fetched(WEIGHTS) < 10
    assert cached(served) == []
    served.cut.clear()
    assert fetch(WHERE, WEIGHTS).read_bytes() == data


@pytest.mark.parametrize("filename", [CONFIG, WEIGHTS])
def test_only_a_file_that_is_not_what_its_name_says_is_evicted(served, filename):
    path = fetch(WHERE, filename)
    fetch(WHERE, CONFIG)
    right = path.read_bytes()
    assert not evict(WHERE, filename)
    path.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    assert evict(WHERE, filename)
    assert not evict(WHERE, filename)
    assert len(cached(served)) == (filename == WEIGHTS)
    assert fetch(WHERE, filename).read_bytes() == right


def test_nothing_is_evicted_offline(served, monkeypatch):
    path = fetch(WHERE, WEIGHTS)
    path.write_bytes(b"damaged")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert not evict(WHERE, WEIGHTS)
    assert path.read_bytes() == b"damaged"


def test_what_has_no_hash_for_a_name_is_not_evicted(served, monkeypatch):
    """As in a cache without links, or from a mirror with names of its own."""
    monkeypatch.setattr("loopback_hub.blob_name", lambda *_: "v1")
    path = fetch(WHERE, WEIGHTS)
    path.write_bytes(b"damaged")
    assert not evict(WHERE, WEIGHTS)


def test_a_sha1_of_a_mirror_is_a_hash_too(served, monkeypatch):
    name = hashlib.sha1(b"{}").hexdigest()
    monkeypatch.setattr("loopback_hub.blob_name", lambda *_: name)
    path = fetch(WHERE, CONFIG)
    assert not evict(WHERE, CONFIG)
    path.write_bytes(b"damaged")
    assert evict(WHERE, CONFIG)


def test_the_cache_states_the_hash_of_weights(served, tmp_path):
    path = fetch(WHERE, WEIGHTS)
    assert stated_sha256(path) == hashlib.sha256(DATA).hexdigest()
    assert stated_sha256(fetch(WHERE, CONFIG)) == ""
    assert stated_sha256(tmp_path / WEIGHTS) == ""


def test_a_folder(tmp_path):
    folder = tmp_path / "runs@home, läuft"
    with pytest.raises(FileNotFoundError, match="läuft.config.json is missing"):
        fetch(folder, CONFIG)
    folder.mkdir()
    (folder / CONFIG).write_text("{}")
    assert fetch(folder, CONFIG) == fetch(str(folder), CONFIG) == folder / CONFIG
    assert not evict(folder, CONFIG)
    assert (folder / CONFIG).is_file()
    with pytest.raises(FileNotFoundError, match="config.json.config.json is missing"):
        fetch(folder / CONFIG, CONFIG)


def test_the_namespace_can_be_another(monkeypatch):
    monkeypatch.delenv("STZOO_HUB_NAMESPACE", raising=False)
    assert namespace() == ""
    monkeypatch.setenv("STZOO_HUB_NAMESPACE", "me")
    assert namespace() == "me"


def test_what_is_not_shipped():
    assert shipped("cost_resnet50.kinetics400") is None
