"""Training with several labels a video: loss, metric, and thresholds."""

import dataclasses
import functools
import logging

import keras
import numpy as np
from keras import ops

from stzoo import writer
from stzoo.data.reading import Reading
from stzoo.inference import metrics
from stzoo.inference.predict import classify
from stzoo.inference.views import map_videos
from stzoo.weights import card, hub
from stzoo.weights.config import ModelConfig

logger = logging.getLogger("stzoo")
STEPS = 400  # thresholds of the curve
LARGEST = 12.0  # logit of the last of them


@keras.saving.register_keras_serializable("stzoo")
class BinaryCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of logits, the mean over the classes.

    It is `keras.losses.BinaryCrossentropy`, or with `focal`
    `keras.losses.BinaryFocalCrossentropy`, with weights for the labels that are
    present. The loss of class `c` in a video that has it is multiplied by
    `class_weights[c]`, as with `pos_weight` of PyTorch. Labels can be probabilities,
    such as those of mixup: the loss is then the mean of the losses with and without the
    class, weighted with its probability. Sample weights of 0 exclude clips from the
    mean over the batch.

    Args:
        label_smoothing: float, the share of a label that becomes 0.5.
        class_weights: sequence of floats, the weight of each class. `None`: all are 1.
        focal: float, the exponent (gamma) of the focal loss, which lowers the weight of
            easy labels. 0: the plain loss.
    """

    def __init__(self, label_smoothing=0.0, class_weights=None, focal=0.0, **kwargs):
        super().__init__(**{"reduction": "mean_with_sample_weight", **kwargs})
        self.label_smoothing, self.focal = label_smoothing, focal
        self.class_weights = None if class_weights is None else tuple(class_weights)

    def call(self, y_true, y_pred):
        labels = ops.cast(y_true, y_pred.dtype)
        present = labels * self._losses(ops.ones_like(labels), y_pred)
        if self.class_weights is not None:
            present = present * ops.convert_to_tensor(self.class_weights, labels.dtype)
        absent = (1 - labels) * self._losses(ops.zeros_like(labels), y_pred)
        return ops.mean(present + absent, axis=-1)

    def _losses(self, labels, logits):
        """Returns the loss of each class of each clip, for labels of 0 or 1."""
        how = {"from_logits": True, "label_smoothing": self.label_smoothing}
        # Keras takes the mean over the last axis: here it has one element.
        labels, logits = labels[..., None], logits[..., None]
        if self.focal:
            return keras.losses.binary_focal_crossentropy(
                labels, logits, gamma=self.focal, **how
            )
        return keras.losses.binary_crossentropy(labels, logits, **how)

    def get_config(self):
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "class_weights": self.class_weights,
            "focal": self.focal,
        }


class PrecisionRecall(keras.metrics.AUC):
    """The mean area under the curves of precision over recall, from logits.

    It approximates the mean average precision, and adds up batches. Classes without
    videos do not count. The thresholds are evenly spaced in the logits: probabilities
    of rare classes are all close to 0.

    Args:
        videos: `stzoo.data.datasets.Videos`, those that are measured.
    """

    def __init__(self, videos):
        super().__init__(
            STEPS,
            curve="PR",
            name="pr_auc",
            multi_label=True,
            num_labels=len(videos.classes),
            label_weights=(videos.counts > 0).astype("float32").tolist(),
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        scores = (ops.clip(y_pred, -LARGEST, LARGEST) / LARGEST + 1) / 2
        return super().update_state(y_true, scores, sample_weight)


def choose_thresholds(folder, videos, reading=Reading()):
    """Chooses the thresholds of a trained model on validation videos, and saves them.

    `stzoo.finetune` does this. A folder that has thresholds keeps them.

    Args:
        folder: path. Its `config.json` and its card are written again.
        videos: `stzoo.data.datasets.Videos`, or `None`: all thresholds are 0.5.
        reading: `stzoo.data.reading.Reading`.
    """
    import stzoo

    config = ModelConfig.from_json(writer.read(folder, hub.CONFIG))
    if videos is None or config.thresholds:
        return
    scores, labels = _scores(stzoo.load(folder), videos, reading)
    if not labels.any():
        logger.warning("No validation video has a label, so all thresholds are 0.5.")
        return
    chosen = metrics.best_thresholds(scores, labels)
    share = float(np.nanmean(metrics.average_precision(scores, labels)))
    absent = [n for n, m in zip(videos.classes, labels.any(0), strict=True) if not m]
    logger.info(
        "The thresholds have the best F1 on the validation videos. Mean average "
        "precision: %.1f %%.%s",
        100 * share,
        f" Without videos, so 0.5: {', '.join(absent)}." if absent else "",
    )
    training = {**config.training}
    found = {"mean_average_precision": share}
    training["validation"] = {**training.get("validation", {}), **found}
    config = dataclasses.replace(config, thresholds=chosen, training=training)
    files = {hub.CONFIG: config.to_json()}
    writer.write(folder, files | card.files(config, folder))


def _scores(model, videos, reading):
    """Returns the probabilities and labels of the videos that can be decoded."""
    function = functools.partial(classify, model)
    found = map_videos(function, videos.paths, model.stzoo.clip, "1x1", reading)
    rows = [(row, n) for n, (row, error) in enumerate(found) if not error]
    if not rows:
        raise ValueError("No validation video can be decoded.")
    scores, numbers = zip(*rows, strict=True)
    return np.stack(scores), np.array(videos.labels)[list(numbers)]
