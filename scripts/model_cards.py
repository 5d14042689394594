"""python scripts/model_cards.py

Writes MODEL_CARDS.md, a section for each entry of the zoo, the README.md of each
repository in weights/hub, and the table of models in README.md. What is reported by
the source and what is measured by us never share a column.
"""

import re
from pathlib import Path

from stzoo import checkpoint, hub
from stzoo.zoo import BUILDERS, PRETRAINED

ROOT = Path(__file__).parent.parent
START, END = "<!-- models: written by scripts/model_cards.py -->", "<!-- /models -->"

HEADER = """# Model cards

One section for each set of weights that the zoo has an entry for, written from the
entries by `python scripts/model_cards.py`. *Reported* is what the source says of its
own weights; *measured* is what this library answered. Accuracies are top-1 / top-5
in percent.
"""

FRONT = """---
library_name: stzoo
pipeline_tag: video-classification
license: {licence}
tags: [keras, video-classification, action-recognition]
---

"""


def known(entry):
    """The entry, or what the config.json of the weights that ship along says."""
    folder = hub.shipped(entry.name)
    return checkpoint.read(folder).about if folder else entry


def status(entry):
    if hub.shipped(entry.name):
        return "ships with the package"
    if entry.repository:
        return (
            f"`{entry.repository}` on the Hub (names of PyTorch, converted on loading)"
        )
    return (
        f"not published by anybody yet; looked for as `{hub.namespace()}/{entry.name}` "
        "on the Hub"
    )


def accuracy(figures):
    numbers = [f"{figures[key]:.1f}" for key in ("top1", "top5") if key in figures]
    return " / ".join(numbers) or "–"


def card(entry):
    """The section of one entry."""
    clip = entry.clip
    measured = accuracy(entry.measured)
    if entry.measured:
        measured += f" on {entry.measured['videos']} videos"
        measured += f", views {entry.measured['views']}"
    lines = [
        f"## {entry.name}",
        "",
        BUILDERS[entry.builder].__doc__.splitlines()[0],
        "",
        "```python",
        f'model = stzoo.{entry.builder}(pretrained="{entry.tag}")',
        "```",
        "",
        f"* Weights: {status(entry)}",
        f"* Licence of the weights: {entry.licence or 'unknown'}",
        f"* Source: {entry.source}",
        f"* Reported by the source: {accuracy(entry.reported)}",
        f"* Measured by us: {measured}",
        f"* Classes: {entry.classes}"
        + (f" ({', '.join(entry.labels)})" if entry.labels else ""),
        f"* Clip: {clip.frames} frames, one of {clip.stride}, short side "
        f"{clip.short_side}, crop {clip.height}x{clip.width}, {clip.order}, "
        f"mean {clip.mean}, deviation {clip.std}",
    ]
    if entry.new:
        lines.append(f"* Start new: variables that end in {', '.join(entry.new)}")
    return "\n".join(lines) + "\n"


def cards():
    """The text of MODEL_CARDS.md."""
    return "\n".join(
        [HEADER, *(card(known(PRETRAINED[n])) for n in sorted(PRETRAINED))]
    )


def table():
    """The table of models in README.md."""
    rows = [
        "| weights | classes | reported | measured | where |",
        "|---|---|---|---|---|",
    ]
    for entry in map(known, map(PRETRAINED.get, sorted(PRETRAINED))):
        where = status(entry).split(" (")[0].split(";")[0]
        figures = accuracy(entry.reported), accuracy(entry.measured)
        rows.append(
            f"| `{entry.name}` | {entry.classes} | {' | '.join(figures)} | {where} |"
        )
    return "\n".join(rows)


def readme(text):
    """README.md with its table as it should be."""
    return re.sub(f"{START}.*?{END}", f"{START}\n{table()}\n{END}", text, flags=re.S)


def main():
    (ROOT / "MODEL_CARDS.md").write_text(cards(), encoding="utf-8")
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text("utf-8")), encoding="utf-8")
    for folder in sorted((ROOT / "weights" / "hub").iterdir()):
        entry = checkpoint.read(folder).about
        text = FRONT.format(licence=entry.licence.lower()) + card(entry)
        (folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
