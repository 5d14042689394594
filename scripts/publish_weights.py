"""python scripts/publish_weights.py "cost_*" --dry-run

Turns entries of the zoo into folders for the Hub and uploads them, each to a repository
of its name under the organisation in STZOO_HUB_NAMESPACE: weights, config with their
hash, card with licence and origin, and `golden.npz`, a fixed clip and its logits. The
weights of an entry come with the package or from its source, which this fetches.
Without NAMES, all entries that have either are done. `--dry-run` uploads nothing.
"""

import argparse
import io
import sys
from fnmatch import fnmatch
from pathlib import Path

import keras
import numpy as np
from golden import answers

import stzoo
from stzoo import writer
from stzoo.weights import checkpoint, hub
from stzoo.zoo import ENTRIES

RANDOM = "the head is random and is to be trained"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    parser.add_argument("names", nargs="*", metavar="NAMES", help='such as "cost_*"')
    parser.add_argument("--out", type=Path, default="build/hub", help="of the folders")
    parser.add_argument("--private", action="store_true", default=None)
    parser.add_argument("--dry-run", action="store_true")
    chosen = parser.parse_args(arguments)
    failed = []
    hub.namespace() or chosen.dry_run or sys.exit("Set STZOO_HUB_NAMESPACE.")
    for name in selected(chosen.names):
        folder, repository = chosen.out / name, f"{hub.namespace()}/{name}"
        try:
            make(name, folder)
            print(f"{folder} is ready for {repository}.")
            if not chosen.dry_run:
                address = stzoo.push_to_hub(folder, repository, chosen.private)
                print(f"Uploaded to {address}.")
        except (ImportError, OSError, ValueError) as error:  # the others may do well
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)
    if failed:
        sys.exit(f"Not published: {', '.join(failed)}.")


def selected(patterns):
    """The names of the entries that are wanted and have weights."""
    known = [n for n in sorted(ENTRIES) if ENTRIES[n].repository or hub.shipped(n)]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in known):
            sys.exit(f"{pattern} is no entry with weights. Known: {', '.join(known)}.")
    return [n for n in known if any(fnmatch(n, p) for p in patterns or ["*"])]


def make(name, folder):
    """Makes the folder of an entry, and checks that it answers as the entry does."""
    keras.utils.set_random_seed(0)  # of a head that is new
    model = stzoo.create(name)
    shipped = hub.shipped(name)
    known = checkpoint.read(shipped).config if shipped else ENTRIES[name]
    base, source = origin(known)
    stzoo.save(
        model,
        folder,
        tag=known.tag,
        licence=known.licence,
        source=source,
        reported=known.reported,
        measured=known.measured,
        training=known.training,
        base_model=base,
    )
    golden = answers(model)
    again = stzoo.load(folder).predict(golden["clip"], verbose=0)
    if not np.allclose(again, golden["logits"], rtol=1e-4, atol=1e-4):
        raise ValueError(f"{folder} does not answer as {name} does.")
    file = io.BytesIO()
    np.savez_compressed(file, **golden)
    writer.write(folder, {"golden.npz": file.getvalue()})


def origin(entry):
    """The base model of an entry, and the text that names its source."""
    source = entry.source
    url = entry.repository.partition("#")[0].split(" ")[0]
    if "://" in url:
        source = f"{source}, {url}"
    if entry.new_head:
        source = f"{source}; {RANDOM}"
    hosted = entry.repository and "://" not in url
    return f"hf://{url}@{entry.revision}" if hosted else entry.base_model, source


if __name__ == "__main__":
    main()
