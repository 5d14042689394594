"""python scripts/study_motions.py --out runs/study

Tests the claims of CoST's paper about its networks (CVPR 2019, Tables 2 to 4, Figures 7
and 8) on data for which it is known which labels need motion. Trains tiny C2D, C3D and
CoST (both variants) on the motions and on the shapes of the same videos, with one
recipe (`train_motions.py`) and three seeds each, and measures all of them on the same
unseen videos. Writes accuracy.csv, shares.csv, figures with error bars of one standard
deviation, and answers.csv. The 24 trainings take hours. Finished ones are not repeated.

An answer is yes or no if all seeds agree. Three seeds agree by chance in one case of
four.
"""

import argparse
import csv
import dataclasses
import json
import shlex
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import train_motions

import stzoo
from stzoo.data import motions
from stzoo.data.views import clip_views
from stzoo.visualize import contributions as plots
from stzoo.writer import write

NETWORKS = {
    "C2D": ("c2d_tiny",),
    "C3D": ("c3d_tiny",),
    "CoST (a)": ("cost_tiny", "--option", "variant=a"),
    "CoST (b)": ("cost_tiny", "--option", "variant=b"),
}
LABELS = ("motion", "shape")
BATCH = 32


def main(arguments=None):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--data", default=Path("runs/motions"), type=Path)
    parser.add_argument("--videos", default=train_motions.VIDEOS, type=int)
    parser.add_argument("--epochs", default=train_motions.EPOCHS, type=int)
    parser.add_argument("--batch", default=train_motions.BATCH, type=int)
    parser.add_argument("--seeds", default=3, type=int)
    args = parser.parse_args(arguments)
    recipe = {name: getattr(args, name) for name in ("videos", "epochs", "batch")}
    claim(args.out, recipe | {"backend": keras.backend.backend()})
    runs = {
        (labels, network, seed): train(args, labels, network, seed, NETWORKS[network])
        for seed in range(args.seeds)
        for labels in LABELS
        for network in NETWORKS
    }
    accuracy, shares, rows = {}, {}, {"accuracy": [], "shares": []}
    for (labels, network, seed), folder in runs.items():
        run = {"labels": labels, "network": network, "seed": seed}
        top1 = measured(folder)["top1"]
        accuracy.setdefault((labels, network), []).append(top1)
        rows["accuracy"].append(run | {"top1": top1})
        if network.startswith("CoST"):
            model = stzoo.load(folder)
            found = stzoo.contributions(model, unseen(args, labels, model.stzoo.clip))
            found = dataclasses.replace(found, model=f"{network} on {labels}s")
            shares.setdefault((labels, network), []).append(found)
            rows["shares"] += [run | row for row in found.rows()]
    rows["answers"] = answers(accuracy, shares)
    for name, found in rows.items():
        save(args.out / f"{name}.csv", found)
    write(args.out, figures(accuracy, shares))
    for row in rows["answers"]:
        print("{question}: {answer}. {difference}: {points} points".format(**row))


def claim(folder, recipe):
    """Exits if a folder has trainings of another recipe."""
    path = folder / "study.json"
    if not path.exists():
        write(folder, {path.name: json.dumps(recipe).encode()})
    if (known := json.loads(path.read_text())) != recipe:
        sys.exit(
            f"{folder} has a study of {known}, not {recipe}. Choose another folder."
        )


def train(args, labels, network, seed, options):
    """Trains a network, unless it is finished. Returns its folder.

    Args:
        args: the recipe: `data`, `videos`, `epochs`, `batch`, and the folder `out`.
        labels: string, one of `LABELS`.
        network: string, the name of the network.
        seed: int, of the initial weights.
        options: tuple of strings, the builder and the options of `train_motions.py`.
    """
    name = "".join(filter(str.isalnum, network)).lower()
    folder = args.out / labels / f"{name}_{seed}"
    if not measured(folder):
        script = str(Path(__file__).with_name("train_motions.py"))
        command = [sys.executable, script, *options, "--labels", labels]
        for option in ("data", "videos", "epochs", "batch"):
            command += [f"--{option}", str(getattr(args, option))]
        command += ["--seed", str(seed), "--out", str(folder)]
        print(shlex.join(command), flush=True)
        subprocess.run(command, check=True)
    return folder


def measured(folder):
    """Returns the measurement at the end of a training, or nothing."""
    config = folder / "config.json"
    return json.loads(config.read_text()).get("measured") if config.exists() else None


def unseen(args, labels, clip):
    """Returns batches of the clips for measuring accuracy."""
    part = (args.data, *train_motions.TEST, args.videos // 5, labels)
    paths, numbers = train_motions.prepare(*part)
    for start in range(0, len(paths), BATCH):
        batch = slice(start, start + BATCH)
        clips = train_motions.decode(paths[batch], lambda v: clip_views(v, clip)[0])
        yield np.stack(clips), numbers[batch]


def temporal(found, field="by_layer"):
    """Returns the total share of both temporal views."""
    return 1 - getattr(found, field)[..., 0]


def answers(accuracy, shares):
    """The paper's claims as questions.

    Args:
        accuracy: dict from labels and network to a list with the accuracy of each seed,
            in %.
        shares: dict from labels and network to a list of `Contributions`.

    Returns:
        List of dicts: the question, a difference that is positive if the answer is yes,
        its mean and standard deviation in percentage points, and the answer.
    """
    rows = []

    def ask(question, difference, values):
        points, answer = verdict(values)
        row = dict(question=question, difference=difference)
        rows.append(row | dict(points=points, answer=answer))

    for labels in LABELS:
        for one, other in (("CoST (a)", "C3D"), ("CoST (b)", "C3D"), ("C3D", "C2D")):
            first, second = (np.array(accuracy[labels, name]) for name in (one, other))
            question = f"Is {one} more accurate than {other} on {labels}s"
            ask(question, "top-1", first - second)
    for network in ("CoST (a)", "CoST (b)"):
        means = [
            np.array(
                [100 * temporal(found).mean() for found in shares[labels, network]]
            )
            for labels in LABELS
        ]
        question = f"Does {network} lean more on time where labels need motion"
        ask(question, "temporal share, motions - shapes", means[0] - means[1])
    for (labels, network), trainings in shares.items():
        rises = []
        for found in trainings:
            by_layer = 100 * temporal(found)
            slope = np.polyfit(range(len(by_layer)), by_layer, 1)[0]
            rises.append(slope * (len(by_layer) - 1))
        question = f"Does {network} lean more on time with depth, on {labels}s"
        ask(question, "temporal share, first to last on a fitted line", rises)
    gaps = []
    for found in shares["motion", "CoST (b)"]:
        by_class = 100 * temporal(found, "by_class").mean(1)
        need = np.array([motions.REVERSED[name] != name for name in found.classes])
        gaps.append(by_class[need].mean() - by_class[~need].mean())
    question = "Do classes that need the order of frames lean more on time in CoST (b)"
    ask(question, "temporal share, the ten of them - the two others", gaps)
    return rows


def verdict(values):
    """Returns mean and standard deviation of differences, and if all are positive."""
    values = np.asarray(values, float)
    points = f"{values.mean():+.2f}"
    if len(values) > 1:
        points += f" ± {values.std(ddof=1):.2f}"
    answer = "yes" if (values > 0).all() else "undecided"
    return points, "no" if (values <= 0).all() else answer


def save(path, rows):
    """Writes dicts to a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def figures(accuracy, shares):
    """Draws accuracy, temporal share by depth, and shares by depth and by class."""
    first = shares["motion", "CoST (b)"]
    about = f"{first[0].total} unseen videos\n"
    about += f"mean ± standard deviation of {len(first)} trainings"
    tops = {
        f"{labels}s": np.array([accuracy[labels, name] for name in NETWORKS]).T / 100
        for labels in LABELS
    }
    times = {
        f"{network[-3:]} {labels}s": np.stack([temporal(one) for one in trainings])
        for (labels, network), trainings in shares.items()
    }
    depth = ("operator, from the input to the output", "temporal share, %")
    pictures = {
        "accuracy.png": plots.lines(
            tops, list(NETWORKS), "network", "top-1, %", f"Motions, {about}"
        ),
        "time_by_layer.png": plots.lines(
            times, first[0].layers, *depth, f"CoST on Motions, {about}"
        ),
        "by_class.png": plots.by_class(*first),
    }
    for (labels, network), trainings in shares.items():
        name = f"by_layer_{labels}_{network[-2]}.png"
        pictures[name] = plots.by_layer(*trainings)
    return pictures


if __name__ == "__main__":
    main()
