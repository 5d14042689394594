"""Models go to a Hub on loopback through huggingface_hub's own client."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from harness import ask
from huggingface_hub import ModelCard
from measured import evaluation
from tiny import build

import stzoo
from stzoo import writer
from stzoo.weights import card, checkpoint
from stzoo.weights import hub as files_of
from stzoo.weights.publish import check_measured, push_evaluation

NAME = "me/mine"
CLIPS = np.random.default_rng(0).integers(0, 256, (2, 2, 32, 32, 3), "uint8")
BESIDE = {"evaluation.json", "classes.csv", "log.csv", "curves.png", "confusion.png"}
MODEL = {"model.safetensors", "config.json", "README.md"}


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture
def folder(model, tmp_path):
    known = dict(licence="MIT", training={"validation": {"accuracy": 0.5}})
    stzoo.save(model, tmp_path / "mine", labels=["salsa", "tango"], **known)
    return tmp_path / "mine"


def measured(where, **change):
    sha256 = checkpoint.read(where).config.sha256
    return evaluation(**{"sha256": sha256, **change})


def logits(model):
    return ask(model, CLIPS)


def test_a_folder_comes_back_from_the_hub_as_the_same_model(hub, model, folder):
    measured(folder).save(folder)
    for name in ("log.csv", "curves.png"):
        (folder / name).write_bytes(name.encode())
    for name in ("state.npz", "run.json", ".hidden", "notes.txt"):
        (folder / name).write_bytes(b"mine alone")
    for name in ("tensorboard", "parts", "other"):
        (folder / name).mkdir()
        (folder / name / "file").write_bytes(b"mine alone")
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}

    assert stzoo.push_to_hub(folder, NAME) == f"{hub.url}/{NAME}"
    ((repository, revision, message, paths),) = hub.commits
    assert (repository, revision) == (NAME, "main")
    assert message == "Upload c2d_tiny with stzoo"
    assert set(paths) == set(hub.repositories[NAME]) == MODEL | BESIDE
    for name in (MODEL | BESIDE) - {"README.md"}:
        assert hub.repositories[NAME][name] == before[name]
    after = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    assert after == before

    loaded = stzoo.load(f"hf://{NAME}")
    np.testing.assert_array_equal(logits(loaded), logits(model))
    assert loaded.stzoo.labels == ("salsa", "tango")
    data = ModelCard.load(NAME).data
    assert data.license == "mit" and data.model_name == "mine"
    found = {r.metric_name: r.metric_value for r in data.eval_results}
    assert found["top-1 accuracy, views 10x3"] == 0.5
    assert data.eval_results[0].metric_args["videos"] == 6
    assert f'stzoo.load("hf://{NAME}")' in ModelCard.load(NAME).text
    assert card.is_generated(hub.repositories[NAME]["README.md"])


def test_a_model_is_saved_before_it_is_pushed(hub, model):
    stzoo.push_to_hub(model, NAME, commit_message="First")
    assert set(hub.repositories[NAME]) == MODEL
    assert hub.commits[0][2] == "First"
    np.testing.assert_array_equal(logits(stzoo.load(f"hf://{NAME}")), logits(model))


def test_a_second_push_replaces_the_first(hub, model, folder):
    stzoo.push_to_hub(folder, NAME)
    stzoo.save(model, folder, labels=["a", "b"])
    stzoo.push_to_hub(str(folder), NAME)
    assert len(hub.commits) == 2
    assert stzoo.load(f"hf://{NAME}").stzoo.labels == ("a", "b")


def test_a_branch_is_made_if_it_is_not_there(hub, folder):
    for _ in range(2):
        assert stzoo.push_to_hub(folder, NAME, revision="v2") == (
            f"{hub.url}/{NAME}/tree/v2"
        )
    assert [commit[1] for commit in hub.commits] == ["v2", "v2"]
    assert stzoo.load(f"hf://{NAME}@v2").stzoo.labels == ("salsa", "tango")


def test_a_pull_request_is_no_branch(hub, folder):
    hub.revisions.add("refs%2Fpr%2F1")
    stzoo.push_to_hub(folder, NAME, revision="refs/pr/1")
    assert [commit[1] for commit in hub.commits] == ["refs%2Fpr%2F1"]
    assert not any("/branch/" in path for _, path in hub.requests)


def test_who_sees_a_repository(hub, folder):
    stzoo.push_to_hub(folder, NAME, private=True)
    assert hub.private == {NAME}
    stzoo.push_to_hub(folder, NAME)
    stzoo.push_to_hub(folder, NAME, private=True)
    stzoo.push_to_hub(folder, "me/open")
    commits = len(hub.commits)
    with pytest.raises(ValueError, match="me/open was not .*the repository is public"):
        stzoo.push_to_hub(folder, "me/open", private=True)
    with pytest.raises(ValueError, match="the repository is private"):
        stzoo.push_to_hub(folder, NAME, private=False)
    assert len(hub.commits) == commits


def test_a_card_that_was_edited_is_pushed_as_it_is(hub, folder):
    mine = b"---\nlicense: mit\n---\n# My words\n"
    (folder / "README.md").write_bytes(mine)
    stzoo.push_to_hub(folder, NAME)
    assert hub.repositories[NAME]["README.md"] == mine


def test_a_folder_without_a_card_gets_one_on_the_hub(hub, folder):
    (folder / "README.md").unlink()
    stzoo.push_to_hub(folder, NAME)
    assert ModelCard.load(NAME).data.library_name == "stzoo"
    assert not (folder / "README.md").exists()


def test_what_a_killed_save_left_whole_is_pushed(hub, model, folder, tmp_path):
    stzoo.save(model, tmp_path / "new", labels=["new", "newer"])
    (tmp_path / "new").rename(folder / writer.WHOLE)
    stzoo.push_to_hub(folder, NAME)
    assert set(hub.repositories[NAME]) == MODEL
    assert stzoo.load(f"hf://{NAME}").stzoo.labels == ("new", "newer")


def test_a_damaged_folder_is_not_pushed(hub, folder, tmp_path):
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    config, weights = json.loads(whole["config.json"]), whole["model.safetensors"]
    for name, data, message in (
        ("model.safetensors", weights[:-1] + bytes([weights[-1] ^ 1]), "sha256 is"),
        ("model.safetensors", None, "model.safetensors is missing"),
        ("config.json", None, "config.json is missing"),
        ("config.json", b"{}", "not the config of a model of stzoo"),
        ("config.json", json.dumps({**config, "sha256": "0"}).encode(), "sha256 is"),
    ):
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "bad")
        (tmp_path / "bad" / name).unlink()
        if data is not None:
            (tmp_path / "bad" / name).write_bytes(data)
        with pytest.raises((FileNotFoundError, ValueError), match=message):
            stzoo.push_to_hub(tmp_path / "bad", NAME)
    with pytest.raises(FileNotFoundError, match="config.json is missing"):
        stzoo.push_to_hub(tmp_path / "none", NAME)
    for what in (None, 3):
        with pytest.raises(ValueError, match="needs a folder or a model of the zoo"):
            stzoo.push_to_hub(what, NAME)
    assert hub.requests == []


@pytest.mark.parametrize(
    "name",
    ["mine", "a/b/c", "hf://me/a", "me/", "/mine", "me/a b", "me/a..b", "", 3],
)
def test_bad_names(hub, folder, name):
    with pytest.raises(ValueError, match='such as "me/my-model".*Received: '):
        stzoo.push_to_hub(folder, name)
    assert hub.requests == []


def test_offline(hub, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="me/mine .*HF_HUB_OFFLINE is set"):
        stzoo.push_to_hub(folder, NAME)
    assert hub.requests == []


def test_tokens(hub, folder, monkeypatch):
    hub.tokens = {"secret": "me"}
    with pytest.raises(PermissionError, match="you are not logged in.*HF_TOKEN"):
        stzoo.push_to_hub(folder, NAME)
    with pytest.raises(PermissionError, match="the token is invalid") as info:
        stzoo.push_to_hub(folder, NAME, token="a wrong one")
    assert "a wrong one" not in str(info.value)
    with pytest.raises(PermissionError, match="other/mine .*has no write access"):
        stzoo.push_to_hub(folder, "other/mine", token="secret")
    assert hub.repositories == {}
    stzoo.push_to_hub(folder, NAME, token="secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    stzoo.push_to_hub(folder, NAME)
    assert len(hub.commits) == 2


@pytest.mark.parametrize(
    ("part", "status", "kind", "message"),
    [
        ("/api/repos/create", 401, PermissionError, "you are not logged in"),
        ("/api/repos/create", 403, PermissionError, "has no write access"),
        ("/api/repos/create", 404, FileNotFoundError, "no such repository"),
        ("/api/repos/create", 400, ValueError, "Fix the error"),
        ("/commit/", 413, ValueError, "Fix the error"),
        ("/preupload/", 403, PermissionError, "has no write access"),
        ("/preupload/", 404, FileNotFoundError, "no such repository"),
        ("/lfs/objects/batch", 403, PermissionError, "has no write access"),
        ("/large", 403, PermissionError, "has no write access"),
        ("/commit/", 403, PermissionError, "has no write access"),
        ("/commit/", 409, ConnectionError, "someone else changed it"),
        ("/commit/", 412, ConnectionError, "someone else changed it"),
        ("/commit/", 500, ConnectionError, "the upload failed"),
        ("/validate-yaml", 503, ConnectionError, "the upload failed"),
        ("/api/repos/create", "cut", ConnectionError, "the upload failed"),
        ("/large", "cut", ConnectionError, "the upload failed"),
        ("/commit/", "cut", ConnectionError, "the upload failed"),
    ],
)
def test_what_the_hub_refuses_is_one_error(hub, folder, part, status, kind, message):
    hub.repositories["me/other"] = {}
    hub.failures[part] = status
    with pytest.raises(kind, match=f"hf://me/mine .*{message}") as info:
        stzoo.push_to_hub(folder, NAME)
    assert "\n" not in str(info.value) and type(info.value) is kind
    assert not hub.repositories.get(NAME)
    hub.failures.clear()
    stzoo.push_to_hub(folder, NAME)
    assert set(hub.repositories[NAME]) == MODEL


def test_a_hub_that_is_not_there(hub, folder):
    hub.close()
    with pytest.raises(ConnectionError, match="me/mine .*HF_ENDPOINT"):
        stzoo.push_to_hub(folder, NAME)


def test_a_card_that_the_hub_refuses(hub, folder):
    (folder / "README.md").write_text("---\nlicense: my own\n---\n# Mine\n")
    with pytest.raises(ValueError, match='Invalid metadata.*"license" must be one of'):
        stzoo.push_to_hub(folder, NAME)
    assert hub.repositories[NAME] == {}


def test_results_go_into_the_card_on_the_hub(hub, folder):
    stzoo.push_to_hub(folder, NAME)
    found = measured(folder)
    assert push_evaluation(found, f"hf://{NAME}") == f"{hub.url}/{NAME}"
    assert hub.commits[-1][1:] == (
        "main",
        "Add results of stzoo evaluate, views 10x3",
        ["README.md"],
    )
    assert len(ModelCard.load(NAME).data.eval_results) == 5
    push_evaluation(dataclasses.replace(found, views="1x1", top1=0.25), NAME)
    push_evaluation(dataclasses.replace(found, top1=0.75), NAME)
    results = ModelCard.load(NAME).data.eval_results
    values = {result.metric_name: result.metric_value for result in results}
    assert len(values) == 9
    assert values["top-1 accuracy, views 1x1"] == 0.25
    assert values["top-1 accuracy, views 10x3"] == 0.75
    assert "| top-1 accuracy, views 10x3 | 75.00 % | 6 |" in ModelCard.load(NAME).text


def test_results_keep_what_was_written_into_the_card_on_the_hub(hub, folder):
    mine = b"---\nlicense: mit\nextra: 3\n---\n# My words\n"
    (folder / "README.md").write_bytes(mine)
    stzoo.push_to_hub(folder, NAME)
    push_evaluation(measured(folder), NAME)
    text = hub.repositories[NAME]["README.md"].decode()
    assert text.startswith("---\nlicense: mit\nextra: 3\nmodel-index:\n- name: mine\n")
    assert text.endswith("\n---\n# My words\n")
    assert "validation" not in text


def test_results_for_a_repository_without_a_card(hub, folder):
    stzoo.push_to_hub(folder, NAME)
    del hub.repositories[NAME]["README.md"]
    push_evaluation(measured(folder), NAME)
    assert ModelCard.load(NAME).data.model_name == "mine"
    assert len(ModelCard.load(NAME).data.eval_results) == 5


def test_results_of_other_weights_are_refused(hub, folder):
    stzoo.push_to_hub(folder, NAME)
    for sha256 in ("", "0" * 64):
        with pytest.raises(ValueError, match="does not have the evaluated weights"):
            push_evaluation(measured(folder, sha256=sha256), NAME)
    config = json.loads(hub.repositories[NAME]["config.json"])
    del config["sha256"]  # and nobody knows what was measured either
    hub.repositories["me/unknown"] = {"config.json": json.dumps(config).encode()}
    with pytest.raises(ValueError, match="does not have the evaluated weights"):
        push_evaluation(measured(folder, sha256=""), "me/unknown")
    with pytest.raises(FileNotFoundError, match="me/none .*no such repository"):
        push_evaluation(measured(folder), "me/none")
    with pytest.raises(FileNotFoundError, match="branch"):
        push_evaluation(measured(folder), f"hf://{NAME}@v9")
    with pytest.raises(ValueError, match="Received: 'mine'"):
        push_evaluation(measured(folder), "mine")
    assert len(hub.commits) == 1


def test_results_for_a_card_that_changed_meanwhile(hub, folder, monkeypatch):
    stzoo.push_to_hub(folder, NAME)
    read = files_of.fetch

    def fetch(where, name):
        path = read(where, name)
        hub.repositories[NAME]["README.md"] = b"# Changed\n"
        return path

    monkeypatch.setattr(files_of, "fetch", fetch)
    with pytest.raises(ConnectionError, match="someone else changed it"):
        push_evaluation(measured(folder), NAME)
    assert hub.repositories[NAME]["README.md"] == b"# Changed\n"


def test_results_for_a_card_that_cannot_be_read(hub, folder):
    stzoo.push_to_hub(folder, NAME)
    hub.repositories[NAME]["README.md"] = b"---\nmodel-index: 3\n---\n"
    with pytest.raises(ValueError, match="hf://me/mine/README.md: its metadata cannot"):
        push_evaluation(measured(folder), NAME)


def test_weights_are_compared_before_anything_is_measured(hub, folder):
    stzoo.push_to_hub(folder, NAME)
    sha256 = checkpoint.read(folder).config.sha256
    commit, config = check_measured(sha256, f"hf://{NAME}")
    assert config.sha256 == sha256 and len(commit) == 40
