"""The notebooks run from top to bottom, and are stored with clean outputs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = [path.stem for path in sorted(FOLDER.glob("*.ipynb"))]
NOISE = re.compile(
    r"warning|traceback|error:|^[IWE]\d{4} |/(home|root|tmp|work)/", re.I | re.M
)


def read(name):
    """The notebook and its cells of code."""
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text("utf-8"))
    return notebook, [one for one in notebook["cells"] if one["cell_type"] == "code"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the cells of a notebook in an empty folder, and returns its names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")

    def run_cells(name):
        names = {"__name__": "__main__"}
        for cell in read(name)[1]:
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        return names

    return run_cells


def skipped(cell):
    return "skip-execution" in cell["metadata"].get("tags", ())


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_outputs_are_clean(name):
    """If this fails, run `python scripts/run_notebooks.py`."""
    notebook, code = read(name)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 300_000
    assert notebook["metadata"].keys() == {"kernelspec", "language_info"}
    ran = [cell for cell in code if not skipped(cell)]
    counts = [cell["execution_count"] for cell in ran]
    assert counts == list(range(1, len(ran) + 1))
    assert not any(cell["outputs"] for cell in code if skipped(cell))
    outputs = [output for cell in ran for output in cell["outputs"]]
    assert len(outputs) > 4
    for output in outputs:
        text = output.get("text") or output["data"].get("text/plain", "")
        assert output.get("name") != "stderr"
        assert not NOISE.search("".join(text)), text


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files(name):
    cells = read(name)[0]["cells"]
    text = "".join(
        "".join(one["source"]) for one in cells if one["cell_type"] != "code"
    )
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in link or (FOLDER / link).exists(), link


@pytest.mark.slow
def test_first_answers(run):
    names = run("first_answers")
    assert names["answers"][0][0] == "rising"
    assert names["backwards"][0][0] == "falling"


@pytest.mark.slow
def test_what_it_sees(run, tmp_path):
    names = run("what_it_sees")
    assert names["on_shape"].mean() > 2 * names["shapes"].mean()
    assert len(names["found"].parts) == 3
    assert names["answers"][0][0] == names["shown"]
    assert {"evidence.png", "attention.png"} <= {one.name for one in tmp_path.iterdir()}


@pytest.mark.slow
def test_deploy(run):
    names = run("deploy")
    assert names["difference"] < 1e-3
    assert [event.label for event in names["events"]] == list(names["order"])


@pytest.mark.slow
def test_finetune(run, hub, tmp_path):
    names = run("finetune")
    accuracies = [row["val_accuracy"] for row in names["history"]]
    assert max(accuracies) - accuracies[-1] < 0.1
    assert names["found"].top1 > 0.8  # a third is of the two largest classes each
    assert (tmp_path / "runs" / "cost_tiny.kinds" / "hardest.png").exists()
    uploaded = hub.repositories["me/cost_tiny.kinds"].keys()
    assert {"config.json", "model.safetensors", "README.md", "curves.png"} <= uploaded
    assert set(names["again"].stzoo.labels) == names["KINDS"].keys()
    weights = (names[name].get_weights() for name in ("again", "model"))
    for value, expected in zip(*weights, strict=True):
        np.testing.assert_array_equal(value, expected)
