"""python scripts/measure_delay.py

Measures after how many seconds an online model knows a motion: `tsm_tiny.motions`, or
the one of the folder MODEL, from `scripts/train_motions.py tsm_tiny --option
shift=online`. Each video is two rendered motions, one after the other, that the model
takes frame by frame, at the rate of its clips. Printed is the share of right answers
after each frame of both.
"""

import argparse
from pathlib import Path

import numpy as np

import stzoo
from stzoo.data import motions
from stzoo.data.views import clip_views

SHIPPED = Path(__file__).parent.parent / "weights" / "hub" / "tsm_tiny.motions"
SEED = 78  # not the seed of any training video


def main(arguments=None):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--model", default=SHIPPED, type=Path)
    parser.add_argument("--videos", default=300, type=int)
    parser.add_argument("--frames", type=int, help="whose logits are averaged")
    args = parser.parse_args(arguments)
    online = stzoo.online(stzoo.load(args.model), args.frames)
    right = np.mean([follow(online, seed) for seed in range(args.videos)], axis=0)
    frames, _, _ = motions.render(0)
    step = len(frames) / motions.FPS / right.shape[1]
    print(f"{args.model.name}, {args.videos} videos")
    print("seconds  first motion  second motion")
    for number, shares in enumerate(right.T, start=1):
        first, second = (f"{100 * share:.1f} %" for share in shares)
        print(f"{number * step:7.2f}  {first:>12}  {second:>13}")


def follow(online, seed):
    """Returns whether the answers are right, bools `(2, frames of a clip)`."""
    rng, found = np.random.default_rng((SEED, seed)), []
    online.reset()
    for motion in rng.choice(motions.CLASSES, 2, replace=False):
        frames, _, _ = motions.render(rng.integers(2**31), str(motion))
        for frame in clip_views(frames, online.config.clip)[0]:
            online.step(frame)
            answer = online.probabilities.argmax()
            found.append(motions.CLASSES[answer] == motion)
    return np.reshape(found, (2, -1))


if __name__ == "__main__":
    main()
