"""python scripts/benchmark_windows.py --models tsn_resnet50 c2d_resnet50

Measures the time of a window of `stzoo.stream` with shared features of frames and
without, for windows that overlap by 50, 75 and 90 %. Weights are random, clips are
dense, and frames are in memory. The first windows are not counted. Both ways alternate
in one process, and a pair counts as one measurement. Prints a table:

* `shared_ms`, `alone_ms`: the medians of milliseconds per window.
* `ratio`: the median of `alone_ms / shared_ms` of the pairs. `low` and `high`: its
  quartiles.
* `others`: number of cores that other processes kept busy meanwhile. Above 0.2, the
  times are upper bounds.

`shared_ms` equals `alone_ms` where too little is saved, so that nothing is shared.
"""

import argparse
import dataclasses
import time
from unittest import mock

import numpy as np
from benchmark import busy

OVERLAPS = 0.5, 0.75, 0.9
FPS = 8
BATCH = 8  # windows, as many as `stream` computes at a time


def measure(model, overlap, windows, pairs):
    """Returns the row of a model and an overlap."""
    import stzoo
    from stzoo.inference import shared

    clip = model.stzoo.clip
    step = round((1 - overlap) * clip.frames * clip.stride)
    count = clip.frames * clip.stride + (BATCH + windows - 1) * step
    size = clip.short_side, clip.short_side
    pictures = np.random.default_rng(0).integers(0, 256, (8, *size, 3)).astype("uint8")

    def run():
        frames = ((number / FPS, pictures[number % 8]) for number in range(count))
        found = stzoo.stream(model, frames, step / FPS, sample_fps=FPS)
        for _ in range(BATCH):  # no window before them has their frames
            next(found)
        start, number = time.perf_counter(), len(list(found))
        return 1e3 * (time.perf_counter() - start) / number

    alone = mock.patch.object(shared, "sharing", lambda *_: None)
    times = []
    before, start = busy(), time.perf_counter()
    for _ in range(pairs + 1):
        one = run()
        with alone:
            times.append((one, run()))
    seconds, (total, mine) = time.perf_counter() - start, busy() - before
    times = np.array(times[1:])  # the first pair builds the graphs
    low, ratio, high = np.quantile(times[:, 1] / times[:, 0], (0.25, 0.5, 0.75))
    shared_ms, alone_ms = np.median(times, axis=0)
    row = {"shared_ms": shared_ms, "alone_ms": alone_ms, "ratio": ratio}
    return row | {"low": low, "high": high, "others": (total - mine) / seconds}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    models = ["tsn_resnet50", "c2d_resnet50"]
    parser.add_argument("--models", nargs="+", default=models)
    parser.add_argument("--side", type=int, default=224, help="pixels of a frame")
    parser.add_argument("--frames", type=int, default=20, help="frames of a clip")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=5)
    chosen = parser.parse_args()
    import stzoo

    print("model,overlap,shared_ms,alone_ms,ratio,low,high,others")
    for name in chosen.models:
        shape = chosen.frames, chosen.side, chosen.side, 3
        model = stzoo.create(name, input_shape=shape)
        clip = dataclasses.replace(
            model.stzoo.clip, sampling="dense", stride=2, short_side=chosen.side
        )
        model.stzoo = dataclasses.replace(model.stzoo, tag="random", clip=clip)
        for overlap in OVERLAPS:
            row = measure(model, overlap, chosen.windows, chosen.pairs)
            print(name, overlap, *(f"{value:.3g}" for value in row.values()), sep=",")


if __name__ == "__main__":
    main()
