import keras
import numpy as np
import pytest
from harness import close, numpy

from stzoo.training.losses import Crossentropy

LOGITS = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
LABELS = np.array([0, 2, 1, 0, 2], "int32")


def slow(smoothing, weights):
    """The loss of each clip."""
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    targets = np.eye(3)[LABELS] * (1 - smoothing) + smoothing / 3
    return -(targets * np.log(shares)).sum(1) * np.array(weights)[LABELS]


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", [None, (0.5, 4.0, 1.5)])
def test_it_is_the_mean_over_clips(smoothing, weights):
    loss = Crossentropy(smoothing, weights)
    expected = slow(smoothing, weights or (1, 1, 1))
    close(loss(LABELS, LOGITS), expected.mean())
    close(loss(LABELS[:, None], LOGITS), expected.mean())
    counted = np.array([1, 1, 0, 1, 0], "float32")
    close(loss(LABELS, LOGITS, counted), expected[counted > 0].mean())


def test_without_settings_it_is_that_of_keras():
    kerass = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    close(Crossentropy()(LABELS, LOGITS), numpy(kerass(LABELS, LOGITS)))


def test_it_restores_from_its_config():
    loss = Crossentropy(0.1, [1.0, 2.0, 3.0])
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert (copy.label_smoothing, copy.class_weights) == (0.1, (1.0, 2.0, 3.0))
    assert copy.reduction == loss.reduction == "mean_with_sample_weight"
