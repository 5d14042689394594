"""python scripts/golden.py cost_tiny.motions

Stores the outputs of a model for a fixed clip in weights/golden/NAME.npz. Run it for
weights that were trained here, on the backend of their training. A test compares every
backend with this file.
"""

import argparse
from pathlib import Path

import numpy as np

import stzoo
from stzoo.data import motions
from stzoo.data.views import clip_views
from stzoo.zoo import ENTRIES

GOLDEN = Path(__file__).parent.parent / "weights" / "golden"


def answers(model):
    """The fixed clip and its logits, by name."""
    frames, _, _ = motions.render([0, 2**32 - 1])  # a scene of no data set
    clip = clip_views(frames, model.stzoo.clip)
    return {"clip": clip, "logits": model.predict(clip, verbose=0)}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("name", choices=sorted(ENTRIES))
    name = parser.parse_args().name
    GOLDEN.mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN / f"{name}.npz", **answers(stzoo.create(name)))


if __name__ == "__main__":
    main()
