"""The PyTorch networks beside which `scripts/benchmark.py` measures those of the zoo.

They take clips as `(batch, channels, frames, height, width)`.
"""

import sys
from functools import partial
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
DEPTHS = {
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
# Width, depth and heads of the networks of `transformers`.
TRANSFORMERS = {
    "videomae_small": (384, 12, 6),
    "videomae_base": (768, 12, 12),
    "videomae_large": (1024, 24, 16),
    "vjepa2_vitl": (1024, 24, 16),
}
INCEPTIONS = {"bninception": ("bn_inception", 64), "inceptionv3": ("inception_v3", 32)}


def peer(case):
    """Returns the PyTorch network with the same arithmetic as a model.

    Those of VideoMAE and V-JEPA 2 are from `transformers`, the others from `tests/`.
    """
    sys.path.append(str(TESTS))
    family, _, network = case.builder.partition("_")
    if family in ("videomae", "vjepa2"):
        return transformer(case)
    options = case.options
    network = options.get("backbone", network).replace("_", "")
    depths = options.get("depths") or DEPTHS.get(network)
    if family in ("c2d", "c3d", "cost"):
        from references import reference_cost

        kind = options.get("kernel") or options.get("variant")
        block = f"{family}_{kind}" if kind else family
        return reference_cost(depths, options.get("width", 64), case.classes, block)
    if family == "p3d":
        from references_p3d import reference_p3d

        chosen = (options["blocks"], case.shape[-1], options["semantics"])
        return reference_p3d(depths, options.get("width", 64), case.classes, *chosen)
    if family in ("s3d", "s3dg"):
        from references_s3d import reference_s3d

        gating = options.get("gating", family == "s3dg")
        return reference_s3d(options.get("width", 64), case.classes, gating)
    from references_inception import CSTM, reference_tsn

    from stzoo.models.gsm import places

    backbone, width = INCEPTIONS.get(network, (depths, 64))
    gates = places(backbone) if family in ("gsm", "cstm") else ()
    module = shifts = None
    if family == "cstm":
        chosen = {key: options[key] for key in ("fusion", "shift", "reduction")}
        module = ("cstm", partial(CSTM, **chosen))
    elif family == "tsm":
        every = 2 if network == "resnet101" else 1
        shifts = (lambda depth: range(0, depth, every)) if depths else True
    width = options.get("width", width)
    return reference_tsn(backbone, width, case.classes, gates, shifts, module)


def transformer(case):
    """Returns a network of `transformers`, which takes `(batch, channels, ...)`."""
    import torch
    import transformers

    options, (frames, size, *_) = case.options, case.shape
    sizes = TRANSFORMERS.get(case.builder)
    width, depth, heads = sizes or (options[n] for n in ("width", "depth", "heads"))
    known = dict(hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads)
    known |= dict(num_labels=case.classes, patch_size=16)
    if case.builder.startswith("videomae"):
        known |= dict(image_size=size, num_frames=frames, intermediate_size=4 * width)
        config = transformers.VideoMAEConfig(**known)
        network = transformers.VideoMAEForVideoClassification(config)
    else:
        known |= dict(crop_size=size, frames_per_clip=frames, pred_num_hidden_layers=1)
        network = transformers.VJEPA2ForVideoClassification(
            transformers.VJEPA2Config(**known)
        )

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network(x.transpose(1, 2)).logits

    return Logits()


def normalised(case):
    """Returns a batch of clips for the PyTorch networks, `(batch, channels, ...)`."""
    import torch

    frames, height, width, channels = case.shape
    return torch.randn(case.batch, channels, frames, height, width)
