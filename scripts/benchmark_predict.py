"""python scripts/benchmark_predict.py --models cost_tiny cost_resnet50

Measures the time from a file to a label, for a rendered video of 10 s, 1280x720 at 30
frames per second, H.264 with the defaults of x264. Each model and backend has its own
process, as on a first `stzoo predict`. This command writes random weights, which do not
change the time, and the process loads them. Prints a table:

* `first_s`: from the start of the process to the first label, with imports, graph,
  weights, decoding, network, and compilation. `import_s` and `load_s` are parts of it.
* Medians of 5 later predictions: `clip_ms`, to decode and resize the frames of one
  view, `network_ms`, to classify it, and `share`, the fraction of `clip_ms` in their
  sum.
* `views_s`: time of 30 views (10 clips, 3 crops; 10 clips for models with flow).
  `per_view`: time of one of them, divided by `network_ms`.
* `one_mb` and `views_mb`: peak resident memory before the 30 views and after them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch")
SIZE = 720, 1280


def measure(folder, video, started):
    """Returns the row of a model, in a process that has imported nothing yet."""
    from benchmark import peak

    import stzoo
    from stzoo.data.decoders import open_video
    from stzoo.data.views import clip_views
    from stzoo.inference.predict import classify

    row = {"import_s": time.time() - started}
    model = stzoo.load(folder)
    clip = model.stzoo.clip
    row["load_s"] = time.time() - started - row["import_s"]
    stzoo.predict(model, video)
    row["first_s"] = time.time() - started

    def view():
        with open_video(video) as frames:
            return clip_views(frames, clip)

    row["clip_ms"], clips = median(view)
    row["network_ms"], _ = median(lambda: classify(model, clips))
    row["share"] = row["clip_ms"] / (row["clip_ms"] + row["network_ms"])
    row["one_mb"] = peak()
    views, count = ("10x1", 10) if clip.uses_flow else ("10x3", 30)
    stzoo.predict(model, video, views=views)  # compiles another batch size
    start = time.time()
    stzoo.predict(model, video, views=views)
    row["views_s"] = time.time() - start
    row["per_view"] = 1e3 * row["views_s"] / count / row["network_ms"]
    return row | {"views_mb": peak()}


def median(run):
    """Returns the median of 5 times in ms, and the result of the function."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times), result


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--backends", nargs="+", default=BACKENDS, choices=BACKENDS)
    chosen = parser.parse_args()
    from benchmark_pipeline import render

    import stzoo

    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder), SIZE, 1)
        for number, name in enumerate(chosen.models):
            stzoo.save(stzoo.create(name), f"{folder}/{name}")
            for backend in chosen.backends:
                given = [f"{folder}/{name}", f"{folder}/00.mp4", time.time()]
                done = subprocess.run(
                    [sys.executable, __file__, "measure", json.dumps(given)],
                    env=os.environ | {"KERAS_BACKEND": backend},
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                row = json.loads(done.stdout.splitlines()[-1])
                if (number, backend) == (0, chosen.backends[0]):
                    print("model", "backend", *row, sep=",")
                print(name, backend, *(f"{v:.3g}" for v in row.values()), sep=",")


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(*json.loads(sys.argv[2]))))
    else:
        main()
