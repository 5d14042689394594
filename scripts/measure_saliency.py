"""python scripts/measure_saliency.py --videos 200

Measures whether the saliency of a network is on the moving shape. Rendered motions have
a mask of the shape. For each layer, this prints the fraction of the saliency of the
true class that is on the shape, and the fraction of the area that the shape covers,
which is the expected value of a uniform map. Distractors also move, but are not the
shape.
"""

import argparse

import numpy as np

import stzoo
from stzoo.data import motions
from stzoo.data.views import clip_views
from stzoo.explain.saliency import saliency

BATCH = 20
SEED = 77  # not the seed of any training video
DEFAULT = "default"  # the layer that `saliency` chooses


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--model", default="cost_tiny.motions")
    parser.add_argument("--videos", default=200, type=int)
    parser.add_argument("--layers", default=(DEFAULT,), nargs="+")
    args = parser.parse_args()
    model = stzoo.create(args.model)
    print(f"{args.model}, {args.videos} videos, means and standard errors")
    for layer in args.layers:
        chosen = None if layer == DEFAULT else layer
        mass, area = measure(model, args.videos, chosen)
        told = ~np.isnan(mass)
        mass, area = mass[told], area[told]
        error = mass.std(ddof=1) / len(mass) ** 0.5
        print(
            f"{layer}: {mass.mean():.3f} ± {error:.3f} of the mass on "
            f"{area.mean():.3f} of the area, more than the area in "
            f"{np.mean(mass > area):.0%} of {len(mass)} videos; in {np.sum(~told)} "
            "others there is no evidence for the class"
        )


def measure(model, count, layer=None):
    """Measures the fraction of the saliency on the shape, and the size of the shape.

    Args:
        model: a model of the twelve motions.
        count: int, number of videos.
        layer: string, see `stzoo.explain.saliency.saliency`.

    Returns:
        Tuple of two arrays `(count,)`, fractions from 0 to 1: of the saliency, or NaN
        if there is no evidence for the class, and of the area.
    """
    mass, area = [], []
    for start in range(0, count, BATCH):
        seeds = range(start, min(start + BATCH, count))
        clips, masks, labels = zip(*(scene(seed, model) for seed in seeds), strict=True)
        found, masks = saliency(model, np.stack(clips), layer, labels), np.stack(masks)
        axes = (1, 2, 3)
        total, on_shape = found.sum(axes), (found * masks).sum(axes)
        nothing = np.full(len(total), np.nan)
        mass.append(np.divide(on_shape, total, nothing, where=total > 0))
        area.append(masks.mean(axes))
    return np.concatenate(mass), np.concatenate(area)


def scene(seed, model):
    """Returns a clip, the mask of the shape, and its class."""
    frames, motion, _ = motions.render([SEED, seed])
    shown = 255 * motions.mask([SEED, seed])[..., None].astype("uint8")
    clip = clip_views(frames, model.stzoo.clip)[0]
    mask = clip_views(shown.repeat(3, -1), model.stzoo.clip)[0][..., 0] > 127
    return clip, mask, motions.CLASSES.index(motion)


if __name__ == "__main__":
    main()
