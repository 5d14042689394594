"""python scripts/benchmark_growth.py --models cost_resnet50 p3d_resnet50

Measures how the time of a prediction grows: with frames (8 to 64, or 20 to 70 for the
snippets of 10 frames of STPN), the side of a frame (112 to 320, or from 128 for
BN-Inception, which needs multiples of 32), clips in a batch (1 to 16), and views of a
video (1 to 30, from a rendered 1280x720 file of 10 s, including decoding). Writes
`benchmarks/growth-MACHINE-BACKEND.csv`, in which new measurements replace the old ones
of a model, and a plot for each model. `linear` in the table is the time of the smallest
size scaled in proportion to the number, or to the square of a side. Times are medians
of `--rounds`, with all sizes in turn in every round.
"""

import argparse
import functools
import io
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from benchmark import ROOT, joined, machine
from benchmark_pipeline import render

import stzoo
from stzoo.writer import write

SIZES = {
    "frames": (8, 16, 32, 64),
    "side": (112, 160, 224, 320),
    "batch": (1, 4, 8, 16),
    "views": ("1x1", "3x1", "10x1", "10x3"),
}
POWER = {"side": 2}


def numbers(name, what, snippet):
    """Returns the sizes that a model takes, in order."""
    step = least = 1
    if what == "frames" and snippet > 1:
        step, least = snippet, 2 * snippet
    elif what == "side" and "inception" in name:
        step = 32
    return sorted({max(least, -(-size // step) * step) for size in SIZES[what]})


def runs(name, what, video):
    """Returns what to time: pairs of a size and a function without arguments."""
    clip = stzoo.create(name).stzoo.clip
    frames, *sizes, channels = clip.shape
    if what == "views":
        model = stzoo.create(name)
        for views in SIZES[what]:
            clips, crops = map(int, views.split("x"))
            yield (
                clips * crops,
                functools.partial(stzoo.predict, model, video, views=views),
            )
        return
    for size in numbers(name, what, clip.snippet):
        shape, batch = (frames, *sizes, channels), 1
        match what:
            case "frames":
                shape = (size, *sizes, channels)
            case "side":
                shape = (frames, size, size, channels)
            case "batch":
                batch = size
        model = stzoo.create(name, input_shape=shape)
        clips = np.zeros((batch, *shape), "uint8")
        yield size, functools.partial(model.predict_on_batch, clips)


def rows(name, what, video, rounds):
    """Returns the rows of a model and a kind of size."""
    sizes, functions = zip(*runs(name, what, video), strict=True)
    for run in functions:
        run()
    times = np.zeros((rounds, len(functions)))
    for row in times:
        for at, run in enumerate(functions):
            start = time.perf_counter()
            run()
            row[at] = time.perf_counter() - start
    seconds = np.median(times, axis=0)
    linear = (np.array(sizes) / sizes[0]) ** POWER.get(what, 1) * seconds[0]
    for size, took, line in zip(sizes, seconds, linear, strict=True):
        about = {"model": name, "grows": what, "size": size}
        yield about | {"seconds": took, "linear": line}


def picture(rows, title):
    """Draws a panel for each kind of size, with its linear growth, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure((3 * len(SIZES), 3), layout="constrained")
    figure.suptitle(title)
    for axes, what in zip(figure.subplots(1, len(SIZES)), SIZES, strict=True):
        mine = [row for row in rows if row["grows"] == what]
        for key, style in (("linear", "--"), ("seconds", "o-")):
            values = [row[key] for row in mine]
            axes.loglog([row["size"] for row in mine], values, style, label=key)
        axes.set_xticks([row["size"] for row in mine])
        axes.minorticks_off()
        axes.get_xaxis().set_major_formatter("{x:.0f}")
        axes.set_xlabel("pixels of a side" if what == "side" else what)
        axes.set_ylabel("seconds")
    axes.legend()
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    return data.getvalue()


def main(arguments=None):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--machine", default=machine())
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks")
    chosen = parser.parse_args(arguments)
    name = f"growth-{chosen.machine}-{keras.backend.backend()}"
    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder), (720, 1280), 1)
        for model in chosen.models:
            found = []
            for what in SIZES:
                found += rows(model, what, f"{folder}/00.mp4", chosen.rounds)
            title = f"{model}, {keras.backend.backend()}, {chosen.machine}"
            files = {
                f"{name}.csv": joined(chosen.out / f"{name}.csv", found, ["model"]),
                f"{name}-{model}.png": picture(found, title),
            }
            write(chosen.out, files)


if __name__ == "__main__":
    main()
