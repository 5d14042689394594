"""KERAS_BACKEND=torch python scripts/count_costs.py

Writes `stzoo/weights/costs.json`: for each entry of the zoo the parameters that can be
trained, and the GFLOPs (multiply-adds in 10^9) of one view, as PyTorch's own counter
finds them. Batch norms, pools and other cheap steps are not counted, as is usual. The
network runs on tensors without values (PyTorch's device "meta"), so it takes a few
minutes, most of them to draw the initial weights. With patterns as arguments, such as
`"trn*"`, only the entries of these names are counted, and the others are kept.
"""

import json
import sys
from fnmatch import fnmatch
from pathlib import Path

import keras
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from stzoo.zoo import BUILDERS, ENTRIES

PATH = Path(__file__).parents[1] / "stzoo" / "weights" / "costs.json"
WHOLE_FRAME = (256, 340)  # of a model without a fixed height and width


def count(entry):
    """Parameters and GFLOPs of an entry.

    Args:
        entry: `stzoo.weights.config.ModelConfig`.

    Returns:
        Dict with `parameters`, int, and `gflops`, float.
    """
    frames, height, width, channels = entry.clip.shape
    size = WHOLE_FRAME if height is None else (height, width)
    with keras.device("meta"):
        model = BUILDERS[entry.builder](
            entry.classes, (frames, *size, channels), **entry.options
        )
        clip = torch.zeros(1, frames, *size, channels, device="meta")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(clip, training=False)
    parameters = sum(np.prod(v.shape, dtype=int) for v in model.trainable_variables)
    gflops = counter.get_total_flops() / 2 / 1e9  # it counts a multiply-add as two
    return {"parameters": int(parameters), "gflops": round(gflops, 2)}


def main():
    if keras.backend.backend() != "torch":
        sys.exit("PyTorch counts: set KERAS_BACKEND=torch.")
    patterns = sys.argv[1:] or ["*"]
    costs, known = json.loads(PATH.read_text()), {}
    costs = {name: cost for name, cost in costs.items() if name in ENTRIES}
    for name, entry in ENTRIES.items():
        if not any(fnmatch(name, pattern) for pattern in patterns):
            continue
        key = repr((entry.builder, entry.options, entry.classes, entry.clip.shape))
        if key not in known:
            known[key] = count(entry)
            print(name, known[key], flush=True)
        costs[name] = known[key]
    PATH.write_text(json.dumps(dict(sorted(costs.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
