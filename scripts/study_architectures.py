"""KERAS_BACKEND=torch python scripts/study_architectures.py --out runs/architectures

Trains the tiny builder of each architecture, with the options that their papers
compare, on the motions and on the shapes of the same rendered videos: one recipe
(`train_motions.py --pairs`), one budget, and the same three seeds for all. Writes
accuracy.csv with one row for each training, table.csv with one row for each network
(mean and standard deviation over the seeds, parameters, GFLOPs of one view, minutes of
a training), and answers.csv with the differences that the papers claim.

The trainings take days on two CPU cores. They run seed after seed, and the tables are
written anew after each one. Finished trainings are not repeated, so the command can be
stopped and started again. `--only "S3D*"` trains some networks.
"""

import argparse
import sys
from fnmatch import fnmatch
from itertools import product
from pathlib import Path

import count_costs
import keras
import numpy as np
import study_motions
import train_motions
from study_motions import LABELS, verdict

from stzoo.weights.config import ModelConfig
from stzoo.weights.hub import CONFIG

NETWORKS = {
    "C2D": ("c2d_tiny",),
    "C3D": ("c3d_tiny",),
    "CoST (a)": ("cost_tiny", "--option", "variant=a"),
    "CoST (b)": ("cost_tiny", "--option", "variant=b"),
    "P3D A": ("p3d_tiny", "--option", "blocks=A"),
    "P3D B": ("p3d_tiny", "--option", "blocks=B"),
    "P3D C": ("p3d_tiny", "--option", "blocks=C"),
    "P3D": ("p3d_tiny",),
    "S3D": ("s3d_tiny",),
    "S3D-G": ("s3d_tiny", "--option", "gating=true"),
    "TSN": ("tsn_tiny",),
    "TRN": ("trn_tiny",),
    "TSM": ("tsm_tiny",),
    "STM": ("stm_tiny",),
    "GSM": ("gsm_tiny",),
    "CSTM, sum": ("cstm_tiny", "--option", "fusion=sum"),
    "CSTM": ("cstm_tiny",),
    "STPN, sum": ("stpn_tiny", "--option", "fusions=sum,sum,sum"),
    "STPN, concatenation": (
        *("stpn_tiny", "--option"),
        "fusions=concatenation,concatenation,concatenation",
    ),
    "STPN": ("stpn_tiny",),
    "VideoMAE": ("videomae_tiny",),
    "V-JEPA 2": ("vjepa2_tiny",),
}
CLAIMS = (  # the first of two is the more accurate one in its paper
    *(("CoST (a)", "C3D"), ("CoST (b)", "C3D"), ("CoST (b)", "CoST (a)")),
    *(("P3D", "P3D A"), ("P3D", "P3D B"), ("P3D", "P3D C")),
    *(("S3D-G", "S3D"), ("TRN", "TSN"), ("TSM", "TSN"), ("GSM", "TSM")),
    *(("CSTM", "GSM"), ("CSTM", "CSTM, sum"), ("CSTM, sum", "GSM")),
    *(("STPN", "STPN, sum"), ("STPN", "STPN, concatenation")),
)
EPOCHS = 24  # twice those of `cost_tiny.motions`


def main(arguments=None):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--data", default=Path("runs/motions"), type=Path)
    parser.add_argument("--videos", default=train_motions.VIDEOS, type=int)
    parser.add_argument("--epochs", default=EPOCHS, type=int)
    parser.add_argument("--batch", default=train_motions.BATCH, type=int)
    parser.add_argument("--seeds", default=3, type=int)
    parser.add_argument("--only", default="*", help="pattern of networks")
    args = parser.parse_args(arguments)
    if keras.backend.backend() != "torch":
        sys.exit("PyTorch trains and counts: set KERAS_BACKEND=torch.")
    recipe = {name: getattr(args, name) for name in ("videos", "epochs", "batch")}
    study_motions.claim(args.out, recipe)
    runs, sizes = {}, {}
    for seed, network, labels in product(range(args.seeds), NETWORKS, LABELS):
        if fnmatch(network, args.only):
            command = (*NETWORKS[network], "--pairs")
            folder = study_motions.train(args, labels, network, seed, command)
            run = ModelConfig.from_json((folder / CONFIG).read_bytes())
            runs[network, labels, seed] = run
            if network not in sizes:
                sizes[network] = count_costs.count(run)
            for name, rows in tables(runs, sizes).items():
                study_motions.save(args.out / f"{name}.csv", rows)


def tables(runs, sizes):
    """Returns the rows of all tables.

    Args:
        runs: dict from network, labels and seed to the `ModelConfig` of a training.
        sizes: dict from network to a dict of its parameters and GFLOPs.
    """
    accuracy = [
        dict(network=network, labels=labels, seed=seed)
        | dict(top1=run.measured["top1"], minutes=run.training["minutes"])
        for (network, labels, seed), run in runs.items()
    ]
    found = {"accuracy": accuracy, "table": table(runs, sizes)}
    return found | ({"answers": rows} if (rows := answers(runs)) else {})


def table(runs, sizes):
    """One row for each network: accuracies, size, and minutes of a training."""
    rows = []
    for network in dict.fromkeys(name for name, _, _ in runs):
        row = {"network": network}
        for labels in LABELS:
            row[f"{labels}s"] = spread(top1(runs, network, labels).values())
        of_it = [run for (name, _, _), run in runs.items() if name == network]
        minutes = spread(run.training["minutes"] for run in of_it)
        rows.append(row | sizes[network] | {"minutes": minutes})
    return rows


def answers(runs):
    """The differences that the papers claim, between trainings of the same seed."""
    rows = []
    for (one, other), labels in product(CLAIMS, LABELS):
        first, second = (top1(runs, name, labels) for name in (one, other))
        if both := sorted(first.keys() & second.keys()):
            points, answer = verdict([first[seed] - second[seed] for seed in both])
            question = f"Is {one} more accurate than {other} on {labels}s?"
            row = {"question": question, "points": points, "seeds": len(both)}
            rows.append(row | {"answer": answer})
    return rows


def top1(runs, network, labels):
    """Returns the accuracy of a network by seed, in %."""
    kind = (network, labels)
    return {
        key[2]: run.measured["top1"] for key, run in runs.items() if key[:2] == kind
    }


def spread(values):
    """Returns mean, standard deviation and number of values: `98.5 ± 0.2 (3)`."""
    values = np.asarray(list(values), float)
    if not len(values):
        return "–"
    deviation = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{deviation} ({len(values)})"


if __name__ == "__main__":
    main()
