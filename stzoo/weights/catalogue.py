"""Describes the weights of the zoo: accuracy, cost, origin and requirements."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from stzoo.weights import checkpoint, hub


@dataclass(frozen=True)
class Weights:
    """A set of weights, as returned by `stzoo.list_models(pretrained=True)`.

    Attributes:
        name: string, `builder.tag`.
        dataset: string, the data set of the classes, or `""`.
        classes: int, the number of logits.
        labels: tuple of strings, the names of the classes, empty if unknown.
        parameters: int, number of trainable parameters.
        gflops: float, multiply-adds for one view in 10^9.
        reported: dict, the accuracy in percent that the source reports (`top1`,
            `top5`) and its `protocol`.
        measured: dict, the accuracy measured with this library, the number of `videos`,
            and the `views`.
        download: int, approximate size of the download in bytes; 0 for weights in the
            package.
        where: string, the location of the weights.
        licence: string, or `""` if it is unknown.
        needs: string, an extra of stzoo that must be installed, or `""`.
        is_available: bool, whether the weights are in the package or can be downloaded.
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
    """Describes an entry of the zoo.

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
    """Returns the location of weights, or how to get them."""
    if folder:
        return "in the package"
    if "://" in entry.repository:
        return entry.repository.partition("#")[0].split()[0]
    if entry.repository:
        return f"hf://{entry.repository}"
    if "://" in entry.source:
        return f"download manually and convert: {entry.source}"
    return f"not published: {entry.source}"


@functools.cache
def _costs():
    """Returns parameters and GFLOPs by name, see `scripts/count_costs.py`."""
    return json.loads((Path(__file__).parent / "costs.json").read_text())
