"""The weights of the zoo: what there is, and what each set costs and needs."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from stzoo.weights import checkpoint, hub


@dataclass(frozen=True)
class Weights:
    """One set of weights, as `stzoo.list_models(pretrained=True)` lists it.

    Attributes:
        name: string, `builder.tag`.
        dataset: string, the data set whose classes the logits are, or `""`.
        classes: int, the number of logits.
        labels: tuple of strings, the names of the classes, empty where unknown.
        parameters: int, numbers that can be trained.
        gflops: float, multiply-adds for one view in 10^9.
        reported: dict, accuracy in percent as the source reports it, `top1`, `top5`,
            and the `protocol`.
        measured: dict, accuracy as measured with this library, the number of `videos`
            and `views`.
        download: int, about how many bytes are downloaded; 0 for weights that come
            with the package.
        where: string, where the weights come from.
        licence: string, or `""` where it is not known.
        needs: string, what to install beside stzoo, or `""`.
        is_available: bool, whether the weights can be had.
    """

    name: str
    dataset: str
    classes: int
    labels: tuple[str, ...]
    parameters: int
    gflops: float
    reported: dict
    measured: dict
    download: int
    where: str
    licence: str
    needs: str
    is_available: bool


def describe(entry):
    """What there is to say of an entry of the zoo.

    Args:
        entry: `stzoo.weights.config.ModelConfig`.

    Returns:
        `Weights`.
    """
    folder = hub.shipped(entry.name)
    known = checkpoint.read(folder).config if folder else entry
    cost = _costs()[entry.name]
    return Weights(
        entry.name,
        known.dataset,
        known.classes,
        known.labels,
        cost["parameters"],
        cost["gflops"],
        known.reported,
        known.measured,
        0 if folder else 4 * cost["parameters"],
        _place(entry, folder),
        known.licence,
        "stzoo[flow]" if entry.clip.uses_flow else "",
        bool(folder or entry.repository),
    )


def _place(entry, folder):
    """Where weights come from, or what would make them."""
    if folder:
        return "in the package"
    if "://" in entry.repository:
        return entry.repository.partition("#")[0].split()[0]
    if entry.repository:
        return f"hf://{entry.repository}"
    if "://" in entry.source:
        return f"to be downloaded by hand and converted: {entry.source}"
    return f"not published: {entry.source}"


@functools.cache
def _costs():
    """Parameters and GFLOPs by name, see `scripts/count_costs.py`."""
    return json.loads((Path(__file__).parent / "costs.json").read_text())
