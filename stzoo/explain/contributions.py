"""How much each term of the weighted operators contributes to a network.

Li, Zhong, Xie, Pu: Collaborative Spatiotemporal Feature Learning for Video Action
Recognition. CVPR 2019, Section 4.5: the three views of CoST share a kernel. So their
coefficients tell how much the network relies on space (height-width) and on time
(time-width, time-height), by layer and by class. The same works for other operators
that weight their terms: the two branches of CSTM and the gates of GSM.

Such an operator has two attributes: `parts`, the names of its terms, and
`coefficients(inputs)`, a tensor `(parts, channels)` or `(batch, parts, channels)` that
sums to 1 over the parts.
"""

import csv
import io
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops


@dataclass(frozen=True, eq=False)
class Contributions:
    """Shares of the parts, averaged over channels and videos. They sum to 1.

    Attributes:
        model: string, name of the model.
        parts: tuple of strings, names of the weighted terms.
        layers: tuple of strings, the operators in the order of the network.
        classes: tuple of strings, the classes that have videos, or empty without
            labels.
        videos: tuple of ints, number of videos of each class.
        total: int, number of videos, or 0 if only the weights were used.
        by_layer: array `(layers, parts)`.
        by_class: array `(classes, layers, parts)`.
        by_channel: dict from layer to array `(channels, parts)`, averaged over videos.
    """

    model: str
    parts: tuple[str, ...]
    layers: tuple[str, ...]
    classes: tuple[str, ...]
    videos: tuple[int, ...]
    total: int
    by_layer: np.ndarray
    by_class: np.ndarray
    by_channel: dict[str, np.ndarray]

    @property
    def overall(self):
        """Returns the mean over layers, array `(parts,)`."""
        return self.by_layer.mean(0)

    def rows(self):
        """Returns the table as a list of dicts: each layer, all layers, each class."""
        names = [("layer", name, self.total) for name in self.layers]
        names.append(("all", "", self.total))
        names += [
            ("class", name, videos)
            for name, videos in zip(self.classes, self.videos, strict=True)
        ]
        shares = [*self.by_layer, self.overall, *self.by_class.mean(1)]
        return [
            {
                "scope": scope,
                "name": name,
                "videos": videos,
                **dict(zip(self.parts, map(float, row), strict=True)),
            }
            for (scope, name, videos), row in zip(names, shares, strict=True)
        ]

    def to_pandas(self):
        """Returns the table as a `pandas.DataFrame`."""
        import pandas

        return pandas.DataFrame(self.rows())

    def to_csv(self):
        """Returns the table as a CSV string."""
        rows, text = self.rows(), io.StringIO()
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def __str__(self):
        source = f"{self.total} videos" if self.total else "from the weights"
        width = max(map(len, (*self.layers, *self.classes, "all layers")))
        lines = [f"{self.model}: {source}"]
        lines.append(" " * width + "".join(f"{part:>13}" for part in self.parts))
        for row in self.rows():
            shares = "".join(f"{row[part]:>13.3f}" for part in self.parts)
            lines.append(f"{row['name'] or 'all layers':<{width}}{shares}")
        return "\n".join(lines)


def contributions(model, data=None):
    """Computes the share of each weighted term of the operators of a model.

    Args:
        model: a model of the zoo with CoST, CSTM or gates.
        data: iterable of batches, as for `fit`: clips `(batch, frames, height, width,
            channels)`, or tuples of clips and int labels `(batch,)`, or of clips,
            labels and weights `(batch,)`. Clips with a weight of 0 are ignored. `None`
            for CoST of variant `"a"`, whose coefficients are weights.

    Returns:
        `Contributions`. It prints as a table.

    Raises:
        ValueError: the model has no coefficients, or they depend on clips and there
            are none. Or a label is not a class of the model, or a coefficient is not
            finite.

    Example:

    >>> print(stzoo.contributions(stzoo.cost_tiny(variant="a")))
    cost_tiny: from the weights
                             hw           tw           th
    layer1_1_conv2        0.670        0.165        0.165
    ...
    """
    weighing = operators(model)
    layers = tuple(layer.name for layer in weighing)
    if data is None:
        means = {
            layer.name: ops.convert_to_numpy(layer.coefficients()) for layer in weighing
        }
        counts, by_class = np.zeros(0, int), np.zeros((0, len(layers), 1))
        total, seen = 0, ()
    else:
        means, counts, by_class = _means(model, weighing, data)
        total, seen = int(counts.sum()), np.flatnonzero(counts[:-1])
        counts, by_class = counts[seen], by_class[seen]
    for name, mean in means.items():
        if not np.isfinite(mean).all():
            raise ValueError(f"The coefficients of {name} contain NaN or infinity.")
    config = getattr(model, "stzoo", None)
    labels = config.class_names if config else range(model.output_shape[-1])
    return Contributions(
        config.name if config else model.name,
        tuple(weighing[0].parts),
        layers,
        tuple(str(labels[number]) for number in seen),
        tuple(map(int, counts)),
        total,
        np.stack([mean.mean(1) for mean in means.values()]),
        by_class,
        {name: mean.T for name, mean in means.items()},
    )


def operators(model):
    """Returns the layers with coefficients, in the order of the network.

    Raises:
        ValueError: there are none.
    """
    found = [layer for layer in model.layers if getattr(layer, "parts", ())]
    if not found:
        raise ValueError(
            f"{model.name} has no coefficients: none of its layers is a CoST, a CSTM "
            "with attention or a gate."
        )
    return found


def _means(model, weighing, data):
    """Computes the means over the data, in one pass that keeps only sums.

    Returns:
        Tuple of a dict from layer to array `(parts, channels)`, the number of videos of
        each class and, at the end, of videos without a label, and the means of each
        class, array `(classes + 1, layers, parts)`.
    """
    probe = keras.Model(
        model.input,
        {layer.name: _Coefficients(layer)(layer.input) for layer in weighing},
    )
    classes, parts = model.output_shape[-1], len(weighing[0].parts)
    counts = np.zeros(classes + 1, int)
    by_class = np.zeros((classes + 1, len(weighing), parts))
    sums = dict.fromkeys((layer.name for layer in weighing), 0.0)
    for batch in data:
        clips, labels = _unpacked(batch)
        if not len(clips):
            continue
        labels = _checked(labels, len(clips), classes)
        found = probe.predict_on_batch(clips)
        for index, (name, coefficients) in enumerate(found.items()):
            coefficients = np.asarray(coefficients, "float64")
            sums[name] = sums[name] + coefficients.sum(0)
            np.add.at(by_class[:, index], labels, coefficients.mean(2))
        np.add.at(counts, labels, 1)
    if not counts.any():
        raise ValueError("There is no clip in the data, so there are no coefficients.")
    means = {name: total / counts.sum() for name, total in sums.items()}
    return means, counts, by_class / np.maximum(counts, 1)[:, None, None]


def _unpacked(batch):
    """Returns the clips of a batch with a weight above 0, and any labels."""
    if not isinstance(batch, tuple | list):
        return batch, None
    clips, labels, *weights = batch
    if weights:
        counted = ops.convert_to_numpy(weights[0]) > 0
        clips = ops.convert_to_numpy(clips)[counted]
        labels = ops.convert_to_numpy(labels)[counted]
    return clips, labels


def _checked(labels, count, classes):
    """Returns labels as an array. Without labels, all are the class after the last."""
    if labels is None:
        return np.full(count, classes)
    labels = ops.convert_to_numpy(labels).astype(int)
    if labels.shape != (count,) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"Labels must be {count} integers from 0 to {classes - 1}, the indices of "
            f"the classes of the model. Received: shape {labels.shape}, from "
            f"{labels.min()} to {labels.max()}."
        )
    return labels


class _Coefficients(keras.layers.Layer):
    """The coefficients of an operator for each clip: `(batch, parts, channels)`."""

    def __init__(self, operator):
        super().__init__(dtype=operator.dtype_policy)
        self.operator = operator

    def call(self, inputs):
        found = ops.cast(self.operator.coefficients(inputs), "float32")
        shape = (ops.shape(inputs)[0], *found.shape[-2:])
        return ops.broadcast_to(found, shape)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((None, len(self.operator.parts), None), "float32")
