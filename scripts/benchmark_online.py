"""python scripts/benchmark_online.py --models tsm_mobilenetv2

Measures how many frames per second an online TSM takes, one by one: `stzoo.online` with
random weights and frames of 640x480 in memory, to be resized and cropped. Each backend
has its own process. Prints a table, and adds nothing to `benchmarks/`:

* `fps`: frames per second for the median of the frames. `low_fps` and `high_fps`: for
  the slower and the faster quartile.
* `others`: number of cores that other processes kept busy meanwhile. Above 0.2, the
  figures are a lower bound.
* `build_s`: time to fuse the model and to build its network for one frame. `first_s`:
  time of the first frame, in which the network is compiled.

Two cores of an AMD EPYC that other processes also used, so these are lower bounds. On
PyTorch, threads wait for each other on busy cores, so one thread was faster than two.

| `tsm_mobilenetv2`    | fps  | low_fps | high_fps | others |
|----------------------|------|---------|----------|--------|
| TensorFlow           | 24.9 | 15.6    | 46.7     | 1.7    |
| JAX                  | 19.1 | 15.3    | 28       | 1.8    |
| PyTorch              | 0.36 | 0.27    | 0.63     | 1.8    |
| PyTorch, one thread  | 4.5  | 4.1     | 5.2      | 1.8    |
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
from benchmark import BACKENDS, clock

SIZE = 480, 640, 3  # of a webcam


def measure(builder, frames):
    """Returns the row of a model, in a process of its own."""
    import stzoo

    model = stzoo.create(builder, shift="online")
    pictures = np.random.default_rng(0).integers(0, 256, (8, *SIZE)).astype("uint8")
    start = time.perf_counter()
    online = stzoo.online(model)
    built = time.perf_counter() - start
    times = [clock(lambda n=n: online(pictures[n % 8])) for n in range(frames + 2)]
    seconds, others = np.array(times[2:]).T
    slow, median, fast = np.quantile(seconds, (0.75, 0.5, 0.25))
    row = {"fps": 1 / median, "low_fps": 1 / slow, "high_fps": 1 / fast}
    row["others"] = others.sum() / seconds.sum()
    return row | {"build_s": built, "first_s": times[0][0]}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--models", nargs="+", default=["tsm_mobilenetv2"])
    parser.add_argument("--backends", nargs="+", default=BACKENDS, choices=BACKENDS)
    parser.add_argument("--frames", type=int, default=100)
    chosen = parser.parse_args()
    cases = [(name, backend) for name in chosen.models for backend in chosen.backends]
    for number, (name, backend) in enumerate(cases):
        done = subprocess.run(
            [sys.executable, __file__, "measure", json.dumps([name, chosen.frames])],
            env=os.environ | {"KERAS_BACKEND": backend},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        row = json.loads(done.stdout.splitlines()[-1])
        if not number:
            print("model", "backend", *row, sep=",")
        print(name, backend, *(f"{value:.3g}" for value in row.values()), sep=",")


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(*json.loads(sys.argv[2]))))
    else:
        main()
