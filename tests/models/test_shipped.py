"""Weights in the repository have the same outputs as after their training."""

import numpy as np
import pytest
from golden import GOLDEN
from harness import ask, close

import stzoo
from stzoo.weights import hub
from stzoo.zoo import ENTRIES

SHIPPED = sorted(name for name in ENTRIES if hub.shipped(name))


def test_each_entry_has_golden_outputs():
    assert SHIPPED == sorted(path.stem for path in GOLDEN.glob("*.npz"))


@pytest.mark.parametrize("name", SHIPPED)
def test_outputs_match_the_golden_outputs(name):
    golden = np.load(GOLDEN / f"{name}.npz")
    model = stzoo.create(name)
    close(ask(model, golden["clip"]), golden["logits"])
    assert model.stzoo.measured["top1"] >= 95
