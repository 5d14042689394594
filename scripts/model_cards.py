"""python scripts/model_cards.py

Writes MODEL_CARDS.md, a section for each entry of the zoo, the README.md of each
repository in weights/hub, and the table of README.md, which has the weights of `TAKEN`.
What is reported by the source and what is measured by us never share a column.
"""

import re
from pathlib import Path
from urllib.parse import urlsplit

from stzoo.weights import catalogue, checkpoint, hub
from stzoo.zoo import BUILDERS, ENTRIES

ROOT = Path(__file__).parent.parent
START, END = "<!-- weights: by scripts/model_cards.py -->", "<!-- /weights -->"

TAKEN = (  # one or two of each data set and family, which can all be had
    "tsm_resnet50.kinetics400",
    "tsm_mobilenetv2.kinetics400",
    "tsn_resnet101.kinetics400",
    "c2d_resnet50.kinetics400_16",
    "p3d_resnet101.kinetics400",
    "s3d.kinetics400",
    "videomae_small.kinetics400",
    "videomae_base.kinetics400",
    "videomae_large.kinetics400",
    "trn_resnet50.something_v1",
    "trn_resnet50.something_v2",
    "tsm_resnet50.something_v2_16",
    "videomae_base.something_v2",
    "vjepa2_vitl.something_v2",
    "vjepa2_vitl.diving48",
    "cost_resnet50.imagenet",
    "cost_tiny.motions",
    "cstm_tiny.motions",
    "p3d_tiny.motions",
    "stpn_tiny.motions",
)
COLUMNS = ("weights", "classes", "parameters", "GFLOPs", "reported", "measured", "from")

HEADER = """# Model cards

One section for each set of weights that the zoo has an entry for, written from the
entries by `python scripts/model_cards.py`. *Reported* is what the source says of its
own weights; *measured* is what we got from the file with this library. Accuracies are
top-1 / top-5 in percent.
"""
CARD = """## {entry.name}

{title}

```python
model = stzoo.{entry.builder}(pretrained="{entry.tag}")
```

* Where: {where}
* Licence of the weights: {licence}
* Source: {entry.source}
* Reported by the source: {reported}
* Measured by us: {measured}
* Classes: {classes}
* Clip: {clip.frames} frames, {sampling}; shorter side {clip.short_side}, crop
  {clip.height}x{clip.width}; {clip.order}, mean {clip.mean}, deviation {clip.std}
"""
FRONT = """---
library_name: stzoo
pipeline_tag: video-classification
license: {licence}
tags: [keras, video-classification, action-recognition]
---

"""


def entries():
    """All entries by name; for weights that ship along, as their config.json is."""
    for name in sorted(ENTRIES):
        folder = hub.shipped(name)
        yield checkpoint.read(folder).config if folder else ENTRIES[name]


def where(entry):
    if hub.shipped(entry.name):
        return "in the package"
    if "://" in entry.repository:
        url, *mirrors = entry.repository.partition("#")[0].split()
        return " or ".join([f"[URL]({url})", *(f"`{mirror}`" for mirror in mirrors)])
    if entry.repository:
        return f"Hub, `{entry.repository}`"
    if "://" in entry.source:
        return "at the source, to be converted"
    return "not published"


def accuracy(figures):
    numbers = [f"{figures[key]:.1f}" for key in ("top1", "top5") if key in figures]
    return " / ".join(numbers) or "–"


def card(entry):
    """The section of one entry."""
    measured = accuracy(entry.measured)
    if entry.measured:
        measured += " on {videos} videos, views {views}".format(**entry.measured)
    return CARD.format(
        entry=entry,
        clip=entry.clip,
        title=BUILDERS[entry.builder].__doc__.splitlines()[0],
        where=where(entry),
        licence=entry.licence or "unknown",
        reported=accuracy(entry.reported),
        measured=measured,
        classes=f"{entry.classes} of {entry.dataset}"
        if entry.dataset
        else "a new head",
        sampling=sampling(entry.clip),
    )


def sampling(clip):
    """Which frames make up a clip."""
    of = f"one of {clip.stride}"
    if clip.sampling == "segments":
        of = "one of each segment"
    return of if clip.snippet == 1 else f"snippets of {clip.snippet}, {of}"


def cards():
    """The text of MODEL_CARDS.md."""
    return "\n".join([HEADER, *map(card, entries())])


def row(one):
    """The row of `stzoo.weights.catalogue.Weights` in README.md."""
    address = urlsplit(one.where)
    place = one.where if address.scheme in ("", "hf") else address.hostname
    cells = (
        f"`{one.name}`",
        f"{one.classes} {one.dataset}".strip(),
        f"{one.parameters / 1e6:.1f} M",
        f"{one.gflops:.0f}" if one.gflops >= 10 else f"{one.gflops:.1f}",
        accuracy(one.reported),
        accuracy(one.measured),
        place + (f", needs `{one.needs}`" if one.needs else ""),
    )
    return "| " + " | ".join(cells) + " |"


def readme(text):
    """README.md with its table as it should be."""
    rows = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    rows += [row(catalogue.describe(ENTRIES[name])) for name in TAKEN]
    table = "\n".join([START, *rows, END])
    return re.sub(f"{START}.*?{END}", lambda _: table, text, flags=re.S)


def main():
    (ROOT / "MODEL_CARDS.md").write_text(cards(), encoding="utf-8")
    text = readme((ROOT / "README.md").read_text("utf-8"))
    (ROOT / "README.md").write_text(text, encoding="utf-8")
    for folder in sorted((ROOT / "weights" / "hub").iterdir()):
        entry = checkpoint.read(folder).config
        text = FRONT.format(licence=entry.licence.lower()) + card(entry)
        (folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
