"""Model cards, read by the Hub's own client."""

import dataclasses
import json
import re

import numpy as np
import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard
from measured import evaluation
from tiny import build

import stzoo
from stzoo.weights import card
from stzoo.weights.card import CARD
from stzoo.weights.config import ClipConfig, ModelConfig

CONFIG = ModelConfig(
    "c2d_tiny",
    tag="mine",
    classes=2,
    labels=("salsa", "tango"),
    licence="Apache-2.0",
    source="https://example.org/a_b_c, a *table*",
    reported={"top1": 74.1},
    measured={"top1": 98.17, "videos": 1200, "views": "1x1"},
    sha256="0" * 64,
    base_model="hf://zoo/base@v1",
    training={
        "recipe": "cost",
        "batch_size": 8,
        "validation": {"videos": 30, "accuracy": 0.9, "loss": 0.1},
    },
)
MEASURED = evaluation(
    model="c2d_tiny.mine", decoder="av 18", backend="jax", sha256="0" * 64
)


def read(text):
    assert text.count("\n---\n") == 1
    return ModelCard(text)


def written(config, folder, **kwargs):
    folder.mkdir(exist_ok=True)
    (data,) = card.files(config, folder, **kwargs).values()
    return read(data.decode())


def values(found):
    return {(r.metric_name, r.metric_value, r.dataset_split) for r in found}


def test_what_the_hub_reads_in_a_card(tmp_path):
    data = written(CONFIG, tmp_path, repository="me/mine").data
    assert data.library_name == "stzoo"
    assert data.pipeline_tag == "video-classification"
    assert data.license == "apache-2.0"
    assert data.base_model == "zoo/base"
    assert data.metrics == ["accuracy"]
    assert {"stzoo", "keras", "action-recognition", "c2d_tiny"} <= set(data.tags)
    assert data.model_name == "mine"
    first, second = data.eval_results
    assert first == EvalResult(
        task_type="video-classification",
        task_name="Video Classification",
        dataset_type="videofolder",
        dataset_name="own videos",
        metric_type="accuracy",
        metric_name="top-1 accuracy, views 1x1",
        metric_value=0.9817,
        metric_args={"views": "1x1", "videos": 1200},
    )
    assert (second.metric_value, second.dataset_split) == (0.9, "validation")
    assert second.metric_args == {"videos": 30}


def test_what_a_reader_sees_in_a_card(tmp_path):
    (tmp_path / "curves.png").write_bytes(b"")
    text = written(CONFIG, tmp_path, repository="me/mine").text
    for words in (
        "# mine",
        'stzoo.load("hf://me/mine")',
        'pip install "stzoo[tensorflow]"',
        "| top-1 accuracy, views 1x1 | 98.17 % | 1200 | own videos |",
        "* Base model: hf://zoo/base@v1",
        r"* Source: <https://example.org/a_b_c>, a \*table\*",
        "* Licence of the weights: Apache-2.0",
        "* Accuracy reported by the source: top-1 74.1 %",
        "* Recipe: cost",
        "* Batch size: 8",
        "Clips of 8 frames of RGB, one of every 8 frames; shorter side 256 pixels",
        "* salsa\n* tango\n",
        "](curves.png)",
        "## Intended use and limits",
    ):
        assert words in text, words
    assert "confusion.png" not in text and "74.1" not in str(MEASURED)


def test_the_data_set_of_the_classes_is_named(tmp_path):
    config = dataclasses.replace(CONFIG, dataset="kinetics400")
    data = written(config, tmp_path).data
    assert data.datasets == ["kinetics400"]
    assert data.eval_results[0].dataset_type == "kinetics400"
    assert data.eval_results[0].dataset_name == "kinetics400"


def test_a_card_of_which_nothing_is_known(tmp_path):
    found = written(ModelConfig("c2d_tiny"), tmp_path / "folder")
    assert found.data.license is found.data.base_model is found.data.datasets is None
    assert found.data.eval_results is None
    assert "The model has not been evaluated yet." in found.text
    assert "# c2d_tiny\n" in found.text and 'stzoo.load("folder")' in found.text
    assert "## Origin" not in found.text and "## Classes" not in found.text
    (data,) = card.files(ModelConfig("c2d_tiny"), tmp_path / "none").values()
    assert card.is_generated(data) and not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("licence", "expected", "name"),
    [
        ("MIT", "mit", None),
        ("BSD-3-Clause", "bsd-3-clause", None),
        ("Terms of the lab", "other", "Terms of the lab"),
    ],
)
def test_licences(tmp_path, licence, expected, name):
    data = written(dataclasses.replace(CONFIG, licence=licence), tmp_path).data
    assert (data.license, data.get("license_name")) == (expected, name)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("hf://zoo/base", "zoo/base"),
        ("hf://zoo/base@refs/pr/1", "zoo/base"),
        ("cost_tiny.motions", "somebody/cost_tiny.motions"),
        ("a folder/of mine", None),
        ("hf://a/b/c", None),
        ("no name: [", None),
    ],
)
def test_base_models(tmp_path, monkeypatch, base, expected):
    monkeypatch.setenv("STZOO_HUB_NAMESPACE", "somebody")
    found = written(dataclasses.replace(CONFIG, base_model=base), tmp_path)
    assert found.data.base_model == expected
    assert "* Base model: " in found.text


def test_many_classes_are_folded(tmp_path):
    labels = tuple(f"class {number}" for number in range(400))
    config = dataclasses.replace(CONFIG, classes=400, labels=labels)
    text = written(config, tmp_path).text
    assert "<details><summary>400 classes</summary>\n\n* class 0\n" in text
    assert "* class 399\n\n</details>" in text


def test_texts_that_would_break_a_card(tmp_path):
    labels = ("---", "</details>\n\n# <b>", "a | b", "`_*[x](y)*_`", "\udce9", "- a")
    config = dataclasses.replace(
        CONFIG,
        classes=6,
        labels=labels,
        source="a: [b\n---\n# c",
        licence="x: y\n- [",
        training={"<!-- /results -->": "<script>", "validation": "none", "a": None},
        measured={"top1": "high", "top5": True, "views": 3},
    )
    found = written(config, tmp_path)
    assert found.data.license_name == "x: y\n- ["
    assert "\n# <b>" not in found.text and "<script>" not in found.text
    for line in ("* \\---", "&lt;/details&gt; \\# &lt;b&gt;", r"a \| b", r"* \- a"):
        assert line in found.text, line
    assert r"* \\udce9" in found.text or r"* \udce9" in found.text
    assert "not been evaluated" in found.text


def test_flow_needs_an_extra(tmp_path):
    clip = ClipConfig(mean=(128, 128), std=(1, 1), snippet=4, sampling="segments")
    text = written(dataclasses.replace(CONFIG, clip=clip), tmp_path).text
    assert "stzoo[tensorflow,flow]" in text
    assert "optical flow, snippets of 4 frames, one frame from each segment" in text


def test_an_evaluation_of_these_weights_is_in_the_card(tmp_path):
    MEASURED.save(tmp_path)
    found = written(CONFIG, tmp_path)
    assert values(found.data.eval_results) == {
        ("top-1 accuracy, views 10x3", 0.5, None),
        ("top-5 accuracy, views 10x3", 1.0, None),
        ("mean class accuracy, views 10x3", 0.25, None),
        ("mean average precision, views 10x3", 0.75, None),
        ("top-1 accuracy, validation videos", 0.9, "validation"),
    }
    expected = {"views": "10x3", "videos": 6, "decoder": "av 18", "backend": "jax"}
    assert found.data.eval_results[0].metric_args == expected
    assert "](confusion.png)" in found.text and "Decoder: av 18." in found.text


@pytest.mark.parametrize(
    "change",
    [
        dict(sha256="1" * 64),
        dict(sha256=""),
        dict(classes=[{"label": "salsa"}]),
        None,
    ],
)
def test_an_evaluation_of_other_weights_is_not_in_the_card(tmp_path, caplog, change):
    caplog.set_level("INFO")
    (tmp_path / "confusion.png").write_bytes(b"of those")
    if change is None:
        (tmp_path / "evaluation.json").write_text("[]")
    else:
        dataclasses.replace(MEASURED, **change).save(tmp_path)
    found = written(CONFIG, tmp_path).data.eval_results
    assert values(found) == values(card.results(CONFIG))
    assert "confusion.png" not in written(CONFIG, tmp_path).text
    assert "evaluation.json belongs to other weights" in caplog.text


def test_save_writes_a_card_and_keeps_one_that_was_edited(tmp_path, caplog):
    model = build()
    stzoo.save(model, tmp_path, licence="MIT")
    text = (tmp_path / CARD).read_text()
    assert ModelCard.load(tmp_path / CARD).data.license == "mit"
    stzoo.save(model, tmp_path, licence="Apache-2.0")
    again = (tmp_path / CARD).read_text()
    assert ModelCard.load(tmp_path / CARD).data.license == "apache-2.0"
    stzoo.save(model, tmp_path, licence="MIT")
    assert (tmp_path / CARD).read_text() == text
    caplog.set_level("INFO")
    edits = (
        text.replace("one of 2 classes", "one of two dances"),
        text + "One more line.\n",
        text.replace("license: mit", "license: cc0-1.0"),
        text.replace("<!-- written by stzoo", "<!-- written"),
        "# My own\n",
        "",
    )
    for edited in edits:
        assert edited != text
        (tmp_path / CARD).write_text(edited)
        stzoo.save(model, tmp_path, labels=["a", "b"])
        assert (tmp_path / CARD).read_text() == edited
        assert stzoo.load(tmp_path).stzoo.labels == ("a", "b")
    assert "README.md was edited, so it is kept" in caplog.text
    (tmp_path / CARD).write_bytes(again.replace("\n", "\r\n").encode())  # by git
    stzoo.save(model, tmp_path, licence="MIT")
    assert (tmp_path / CARD).read_text() == text


def test_what_cannot_be_read_is_not_replaced(tmp_path):
    (tmp_path / CARD).mkdir()
    stzoo.save(build(), tmp_path)
    assert (tmp_path / CARD).is_dir() and not (tmp_path / ".written").exists()
    assert stzoo.load(tmp_path).stzoo.classes == 2


def test_a_folder_of_any_name_is_quoted(tmp_path):
    text = written(CONFIG, tmp_path / 'my "new" model').text
    assert 'stzoo.load("my \\"new\\" model")' in text
    assert "--model 'my \"new\" model'`" in text


def test_a_model_is_not_its_own_base(tmp_path):
    config = dataclasses.replace(CONFIG, base_model="hf://me/mine@main")
    assert written(config, tmp_path, repository="me/mine").data.base_model is None
    found = written(config, tmp_path, repository="me/other")
    assert found.data.base_model == "me/mine"


def test_the_lineage_of_a_model_is_kept(hub, tmp_path, monkeypatch):
    """From an entry of the zoo to a folder, to the Hub, to a model of that."""
    small = dict(input_shape=(8, 32, 32, 3))
    first = stzoo.create("cost_tiny.motions", **small)
    assert first.stzoo.base_model == "cost_tiny.motions"
    derived = stzoo.cost_tiny(2, pretrained="motions", **small)
    stzoo.save(derived, tmp_path / "one")
    assert ModelCard.load(tmp_path / "one" / CARD).data.base_model is None
    monkeypatch.setenv("STZOO_HUB_NAMESPACE", "stzoo")
    stzoo.save(derived, tmp_path / "one")
    assert ModelCard.load(tmp_path / "one" / CARD).data.base_model == (
        "stzoo/cost_tiny.motions"
    )
    stzoo.save(stzoo.load(tmp_path / "one", classes=3), tmp_path / "two")
    assert stzoo.load(tmp_path / "two").stzoo.base_model == "cost_tiny.motions"
    hub.repositories["me/one"] = {
        path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()
    }
    stzoo.save(stzoo.load("hf://me/one@main"), tmp_path / "three")
    assert stzoo.load(tmp_path / "three").stzoo.base_model == "hf://me/one@main"
    assert ModelCard.load(tmp_path / "three" / CARD).data.base_model == "me/one"
    assert build().stzoo.base_model == ""


def test_results_are_added_to_a_card(tmp_path):
    (data,) = card.files(CONFIG, tmp_path).values()
    new = card.results(ModelConfig("c2d_tiny"), dataclasses.asdict(MEASURED))
    added = card.with_results(data, new, "mine")
    found = read(added.decode())
    assert values(found.data.eval_results) == {
        *values(card.results(CONFIG)),
        *values(new),
    }
    assert "| top-5 accuracy, views 10x3 | 100.00 % | 6 |" in found.text
    assert card.is_generated(added)
    better = dataclasses.replace(MEASURED, top1=0.75)
    new = card.results(ModelConfig("c2d_tiny"), dataclasses.asdict(better))
    again = read(card.with_results(added, new, "mine").decode())
    assert len(again.data.eval_results) == len(found.data.eval_results)
    assert ("top-1 accuracy, views 10x3", 0.75, None) in values(again.data.eval_results)


def test_numbers_of_numpy_are_written(tmp_path):
    (data,) = card.files(CONFIG, tmp_path).values()
    measured = {"top1": np.float64(0.5), "videos": 6, "views": "1x1"}
    added = card.with_results(data, card.results(CONFIG, measured), "mine")
    assert read(added.decode()).data.eval_results[0].metric_value == 0.5


def test_results_leave_all_else_of_a_card(tmp_path):
    mine = {
        "license": "mit",
        "custom": {"a": [1, None]},
        "model-index": [
            {"name": "first", "results": [], "extra": 1},
            {
                "name": "second",
                "results": [
                    {
                        "task": {"type": "text"},
                        "dataset": {"type": "own", "name": "own"},
                        "metrics": [{"type": "wer", "value": "20 ± 1", "odd": 2}],
                    }
                ],
            },
        ],
    }
    text = f"---\n{yaml.safe_dump(mine)}---\n# Größe\n\nMy words.\r\n"
    new = card.results(CONFIG)
    added = card.with_results(text.encode(), new, "mine").decode()
    assert added.endswith("---\n# Größe\n\nMy words.\r\n")
    front = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", added, re.DOTALL)[1])
    assert len(front["model-index"][0].pop("results")) == 2
    del mine["model-index"][0]["results"]
    assert front == mine
    assert not card.is_generated(added.encode())
    plain = card.with_results(b"# No metadata\n", new, "mine").decode()
    assert read(plain).data.model_name == "mine" and plain.endswith("# No metadata\n")


@pytest.mark.parametrize(
    "text",
    [
        "---\n- a list\n---\n",
        "---\na: [b\n---\n",
        "---\nmodel-index: 3\n---\n",
        "---\nmodel-index:\n- name: a\n---\n",
        "---\nmodel-index:\n- name: a\n  results:\n  - task: 3\n---\n",
        b"\xff",
    ],
)
def test_metadata_that_cannot_be_read(text):
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ValueError, match="its metadata cannot be read") as info:
        card.with_results(data, card.results(CONFIG), "mine")
    assert "\n" not in str(info.value)


def test_the_snippet_of_a_card_runs(tmp_path, monkeypatch, motion_folder, capsys):
    stzoo.save(build(), tmp_path / "mine", labels=["salsa", "tango"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "video.mp4").write_bytes(
        (motion_folder / "rising" / "0.mp4").read_bytes()
    )
    text = (tmp_path / "mine" / CARD).read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, CARD, "exec"), {})
    assert "salsa" in capsys.readouterr().out


def test_a_card_is_the_same_for_the_same_record(tmp_path):
    assert card.files(CONFIG, tmp_path) == card.files(
        ModelConfig.from_json(json.dumps(CONFIG.to_config()).encode()), tmp_path
    )
