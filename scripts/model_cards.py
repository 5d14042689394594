"""python scripts/model_cards.py

Writes MODEL_CARDS.md, which has a table for each family with a row for each entry of
the zoo, the README.md of each repository in weights/hub, and the table of README.md,
which has the weights of `TAKEN`. Reported and measured accuracies never share a column.
"""

import inspect
import re
from pathlib import Path
from urllib.parse import urlsplit

from stzoo.weights import catalogue, checkpoint, hub
from stzoo.zoo import BUILDERS, ENTRIES, FAMILIES

ROOT = Path(__file__).parent.parent
START, END = "<!-- weights: by scripts/model_cards.py -->", "<!-- /weights -->"

TAKEN = (  # one or two of each data set and family that can be had, the best ones first
    "videomae_large.kinetics400",
    "videomae_base.kinetics400",
    "videomae_small.kinetics400",
    "tsn_resnet101.kinetics400",
    "c2d_resnet50.kinetics400_16",
    "tsm_resnet50.kinetics400",
    "p3d_resnet101.kinetics400",
    "tsm_mobilenetv2.kinetics400",
    "s3d.kinetics400",
    "vjepa2_vitl.something_v2",
    "videomae_base.something_v2",
    "tsm_resnet50.something_v2_16",
    "trn_resnet50.something_v2",
    "trn_resnet50.something_v1",
    "vjepa2_vitl.diving48",
    "cost_resnet50.imagenet",
    "cost_tiny.motions",
    "cstm_tiny.motions",
    "p3d_tiny.motions",
    "stpn_tiny.motions",
    "stm_tiny.motions",
    "s3d_tiny.motions",
    "trn_tiny.motions",
    "tsm_tiny.motions",
    "videomae_tiny.motions",
    "vjepa2_tiny.motions",
)
COLUMNS = ("weights", "classes", "parameters", "GFLOPs", "reported", "measured", "from")

CARD_COLUMNS = (
    *("name", "data set", "classes", "reported (protocol)", "measured (protocol)"),
    *("parameters", "GFLOPs", "size", "source", "licence"),
)

HEADER = """# Model cards

All weights that the zoo has an entry for, with a table for each family.

* *Reported* is the accuracy that the source reports for its own weights. *Measured* is
  the accuracy that this library measured with the file. Accuracies are top-1 / top-5 in
  percent. The protocol is in parentheses if it is known.
* GFLOPs are multiply-adds of one view. The size is that of the file, and approximate
  for a download.
* *Convert* means that the file must be downloaded manually and
  [converted](docs/guides/convert.md). *No link* means that no address of a file is
  known.
* A new head means that the file has weights for the network, but not for its classes.

The name has two parts, the builder and the tag. The clip that a model needs is part of
its record:

```python
model = stzoo.tsm_resnet50(pretrained="kinetics400")
print(model.stzoo.clip)
```
"""
FAMILY = """## {title}

{what}

* Paper: {paper}
* Licences of the weights: {licences}

{table}
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


def known(entry):
    """An entry, or its config.json if its weights ship along."""
    folder = hub.shipped(entry.name)
    return checkpoint.read(folder).config if folder else entry


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


def folder_card(entry):
    """The card in a folder of weights."""
    measured = accuracy(entry.measured)
    if entry.measured:
        measured += " on {videos} videos, views {views}".format(**entry.measured)
    return FRONT.format(licence=entry.licence.lower()) + CARD.format(
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
    return "\n".join([HEADER, *map(family_section, FAMILIES)])


def family_section(family):
    """The section of a family. Its page and the docstring of its module describe it."""
    module = inspect.getmodule(next(iter(family.architectures)))
    page = ROOT / "docs" / "models" / f"{module.__name__.rpartition('.')[2]}.md"
    title, what = page.read_text("utf-8").split("\n\n")[:2]
    paper = " ".join(inspect.getdoc(module).split("\n\n")[1].split())
    found = sorted(map(known, family.entries), key=lambda entry: entry.name)
    return FAMILY.format(
        title=title.removeprefix("# "),
        what=re.sub(r" \[Paper\].*", "", what),
        paper=re.sub(r"https://[^\s,]+", r"<\g<0>>", paper).rstrip("."),
        licences=", ".join(sorted({entry.licence or "unknown" for entry in found})),
        table="\n".join(table(CARD_COLUMNS, map(card_cells, found))),
    )


def card_cells(entry):
    """The cells of one entry in MODEL_CARDS.md."""
    one = catalogue.describe(ENTRIES[entry.name])
    return (
        f"`{entry.name}`",
        entry.dataset or "–",
        str(entry.classes) if entry.dataset else "a new head",
        with_protocol(entry.reported, entry.reported.get("protocol")),
        with_protocol(entry.measured, "{views} views, {videos} videos"),
        f"{one.parameters / 1e6:.1f} M",
        gflops(one),
        size(one),
        linked_source(entry),
        entry.licence or "unknown",
    )


def with_protocol(figures, protocol):
    """Accuracies and how they were found."""
    text = accuracy(figures)
    if not figures or not protocol:
        return text
    return f"{text} ({protocol.format(**figures)})"


def gflops(one):
    return f"{one.gflops:.0f}" if one.gflops >= 10 else f"{one.gflops:.1f}"


def size(one):
    if not one.is_available:
        return "–"
    folder = hub.shipped(one.name)
    count = one.download
    if folder:
        count = (Path(folder) / "model.safetensors").stat().st_size
    return f"{count / 1e6:.0f} MB" if count >= 1e7 else f"{count / 1e6:.1f} MB"


def linked_source(entry):
    """The source of an entry in a few words, with a link to the file."""
    if hub.shipped(entry.name):
        return f"in the package, {entry.source}"
    short, *links = re.split(r",? (?=https?://)", entry.source)
    if entry.repository:
        url = entry.repository.partition("#")[0].split()[0]
        url = url if "://" in url else f"https://huggingface.co/{url}"
        return f"[{short}]({url})"
    if links:
        return ", ".join([short, *(f"[convert]({link})" for link in links)])
    return f"{short}, no link"


def table(columns, rows):
    """The lines of a table."""
    lines = [columns, *rows]
    lines = [f"| {' | '.join(cells)} |" for cells in lines]
    return [lines[0], "|" + "---|" * len(columns), *lines[1:]]


def readme_cells(one):
    """The cells of `stzoo.weights.catalogue.Weights` in README.md."""
    address = urlsplit(one.where)
    place = one.where if address.scheme in ("", "hf") else address.hostname
    return (
        f"`{one.name}`",
        f"{one.classes} {one.dataset}".strip(),
        f"{one.parameters / 1e6:.1f} M",
        gflops(one),
        accuracy(one.reported),
        accuracy(one.measured),
        place + (f", needs `{one.needs}`" if one.needs else ""),
    )


def readme(text):
    """README.md with its table as it should be."""
    taken = (readme_cells(catalogue.describe(ENTRIES[name])) for name in TAKEN)
    lines = "\n".join([START, *table(COLUMNS, taken), END])
    return re.sub(f"{START}.*?{END}", lambda _: lines, text, flags=re.S)


def main():
    (ROOT / "MODEL_CARDS.md").write_text(cards(), encoding="utf-8")
    text = readme((ROOT / "README.md").read_text("utf-8"))
    (ROOT / "README.md").write_text(text, encoding="utf-8")
    for folder in sorted((ROOT / "weights" / "hub").iterdir()):
        text = folder_card(checkpoint.read(folder).config)
        (folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
