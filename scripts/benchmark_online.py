"""python scripts/benchmark_online.py --models tsm_mobilenetv2

Measures how many frames per second an online TSM takes, one by one: `stzoo.online` with
random weights and frames of 640x480 in memory, to be resized and cropped. Each backend,
and each runtime of an export, has its own process. Prints a table, and adds nothing to
`benchmarks/`:

* `fps`: frames per second for the median of the frames. `low_fps` and `high_fps`: for
  the slower and the faster quartile.
* `others`: number of cores that other processes kept busy meanwhile. Above 0.2, the
  figures are a lower bound.
* `build_s`: time to fuse the model and to build its network for one frame, or to open
  the export. `first_s`: time of the first frame, in which the network is compiled.

Frames per second on two cores of an Intel Xeon with AVX-512, with `others` below 0.05:

| `tsm_mobilenetv2`    | fps  | low_fps | high_fps |
|----------------------|------|---------|----------|
| TensorFlow           | 47.8 | 44.9    | 49.2     |
| JAX                  | 64.5 | 58.5    | 68.5     |
| PyTorch              | 25.9 | 24.6    | 26.9     |
| ONNX Runtime, export | 120  | 87.6    | 130      |
| OpenVINO, export     | 108  | 104     | 112      |
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from benchmark import BACKENDS, clock

EXPORTS = {"onnxruntime": "model.onnx", "openvino": "model.xml"}
RUNNERS = (*BACKENDS, *EXPORTS)
SIZE = 480, 640, 3  # of a webcam


def measure(builder, runner, frames):
    """Returns the row of a model, in a process of its own."""
    import stzoo

    model = stzoo.create(builder, shift="online")
    pictures = np.random.default_rng(0).integers(0, 256, (8, *SIZE)).astype("uint8")
    with tempfile.TemporaryDirectory() as folder:
        if runner in EXPORTS:
            file = Path(folder, EXPORTS[runner])
            model = stzoo.load(stzoo.export(model, file, online=True))
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
    parser.add_argument("--runners", nargs="+", default=RUNNERS, choices=RUNNERS)
    parser.add_argument("--frames", type=int, default=100)
    chosen = parser.parse_args()
    cases = [(name, runner) for name in chosen.models for runner in chosen.runners]
    for number, case in enumerate(cases):
        backend = "torch" if case[1] in EXPORTS else case[1]
        done = subprocess.run(
            [sys.executable, __file__, "measure", json.dumps([*case, chosen.frames])],
            env=os.environ | {"KERAS_BACKEND": backend},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        row = json.loads(done.stdout.splitlines()[-1])
        if not number:
            print("model", "runner", *row, sep=",")
        print(*case, *(f"{value:.3g}" for value in row.values()), sep=",")


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(*json.loads(sys.argv[2]))))
    else:
        main()
