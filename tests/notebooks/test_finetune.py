import json
from pathlib import Path

import numpy as np
import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "finetune.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in code)
    names = {"__name__": "__main__"}
    for cell in code:
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)

    assert names["found"].top1 > 0.6  # a third is of the two largest classes each
    assert (tmp_path / "runs" / "cost_tiny.kinds" / "worst.png").exists()
    uploaded = hub.repositories["me/cost_tiny.kinds"].keys()
    assert {"config.json", "model.safetensors", "README.md", "curves.png"} <= uploaded
    assert set(names["again"].stzoo.labels) == names["KINDS"].keys()
    weights = (names[name].get_weights() for name in ("again", "model"))
    for value, expected in zip(*weights, strict=True):
        np.testing.assert_array_equal(value, expected)
