"""python scripts/measure_saliency.py --videos 200

Measures whether the saliency of a network lies on what moves: on rendered motions it is
known which pixels show the shape. Prints, for each layer, the share of the saliency of
the true class that lies on the shape, and the share of the area that the shape covers,
which is what an even map would have. Distractors move as well, and are not the shape.
"""

import argparse

import numpy as np

import stzoo
from stzoo.data import motions
from stzoo.data.transforms import clip_views
from stzoo.explain.saliency import saliency

BATCH = 20
SEED = 77  # of no video that anything was trained on
LAYERS = ("layer1_1_relu", "layer2_1_relu", "layer3_1_relu", "layer4_1_relu")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--model", default="cost_tiny.motions")
    parser.add_argument("--videos", default=200, type=int)
    parser.add_argument("--layers", default=LAYERS, nargs="+")
    args = parser.parse_args()
    model = stzoo.create(args.model)
    print(f"{args.model}, {args.videos} videos, means and standard errors")
    for layer in args.layers:
        mass, area = measure(model, args.videos, layer)
        told = ~np.isnan(mass)
        mass, area = mass[told], area[told]
        error = mass.std(ddof=1) / len(mass) ** 0.5
        print(
            f"{layer}: {mass.mean():.3f} ± {error:.3f} of the mass on "
            f"{area.mean():.3f} of the area, more than the area in "
            f"{np.mean(mass > area):.0%} of {len(mass)} videos; in {np.sum(~told)} "
            "others nothing speaks for the class"
        )


def measure(model, count, layer=None):
    """How much of the saliency lies on the shape, and how large the shape is.

    Args:
        model: a model of the twelve motions.
        count: int, number of videos.
        layer: string, see `stzoo.explain.saliency.saliency`.

    Returns:
        Tuple of two arrays `(count,)`, shares from 0 to 1: of the saliency, NaN where
        nothing speaks for the class, and of the area.
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
    """A clip, which of its pixels show the shape, and its class."""
    frames, motion, _ = motions.render([SEED, seed])
    shown = 255 * motions.mask([SEED, seed])[..., None].astype("uint8")
    clip = clip_views(frames, model.stzoo.clip)[0]
    mask = clip_views(shown.repeat(3, -1), model.stzoo.clip)[0][..., 0] > 127
    return clip, mask, motions.CLASSES.index(motion)


if __name__ == "__main__":
    main()
