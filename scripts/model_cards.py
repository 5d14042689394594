"""python scripts/model_cards.py

Writes MODEL_CARDS.md, a section for each entry of the zoo, the README.md of each
repository in weights/hub, and the table of weights in README.md. What is reported by
the source and what is measured by us never share a column.
"""

import re
from pathlib import Path

from stzoo.weights import checkpoint, hub
from stzoo.zoo import BUILDERS, ENTRIES

ROOT = Path(__file__).parent.parent
START, END = "<!-- weights: by scripts/model_cards.py -->", "<!-- /weights -->"

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


def readme(text):
    """README.md with its table as it should be."""
    rows = ["| weights | classes | reported | measured | where |", "|" + "---|" * 5]
    for e in entries():
        cells = e.classes, accuracy(e.reported), accuracy(e.measured), where(e)
        rows.append(f"| `{e.name}` | " + " | ".join(map(str, cells)) + " |")
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
