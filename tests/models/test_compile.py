"""`torch.compile` takes a whole model as one graph, of a fixed shape."""

import keras
import numpy as np
import pytest
from harness import close, numpy

import stzoo

if keras.backend.backend() != "torch":
    pytest.skip("PyTorch alone has it", allow_module_level=True)

FAMILIES = {
    "cost_tiny": {"depths": (1, 0, 0, 0)},
    "p3d_tiny": {"depths": (1, 1, 1, 1), "semantics": "paper"},
    "tsm_tiny": {"depth": 1},
    "gsm_tiny": {"depth": 1},
    "cstm_tiny": {"depth": 1},
    "stpn_tiny": {"width": 4, "length": 2, "dim": 32},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_no_layer_breaks_the_graph(name):
    import torch

    frames, channels = (6, 5) if name == "stpn_tiny" else (16, 3)
    shape = (frames, 32, 32, channels)
    model = stzoo.create(name, input_shape=shape, **FAMILIES[name])
    clip = torch.as_tensor(np.random.default_rng(0).integers(0, 256, (1, *shape)))
    compiled = torch.compile(
        lambda clip: model(clip, training=False), fullgraph=True, backend="eager"
    )
    with torch.no_grad():
        close(numpy(compiled(clip)), numpy(model(clip)))
