import keras
import numpy as np
import pytest
from harness import close, numpy

from stzoo.training.losses import Accuracy, Crossentropy

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


SOFT = np.random.default_rng(1).dirichlet(np.ones(3), 5).astype("float32")


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", [None, (0.5, 4.0, 1.5)])
def test_the_loss_of_probabilities_is_the_mean_over_their_classes(smoothing, weights):
    expected = 0
    for label in range(3):
        every = np.full(5, label, "int32")
        losses = [
            numpy(Crossentropy(smoothing, weights)(every[i : i + 1], LOGITS[i : i + 1]))
            for i in range(5)
        ]
        expected = expected + SOFT[:, label] * np.array(losses)
    close(Crossentropy(smoothing, weights)(SOFT, LOGITS), expected.mean())
    hard = np.eye(3, dtype="float32")[LABELS]
    loss = Crossentropy(smoothing, weights)
    close(loss(hard, LOGITS), numpy(loss(LABELS, LOGITS)))


def test_accuracy_takes_classes_and_probabilities_in_turn():
    answers = LOGITS.argmax(1)
    metric = Accuracy()
    metric.update_state(LABELS, LOGITS)
    close(metric.result(), (answers == LABELS).mean())
    metric.update_state(SOFT, LOGITS)
    right = [*(answers == LABELS), *(answers == SOFT.argmax(1))]
    close(metric.result(), np.mean(right))
    metric.reset_state()
    counted = np.array([1, 1, 0, 1, 0], "float32")
    metric.update_state(LABELS[:, None], LOGITS, counted)
    close(metric.result(), (answers == LABELS)[counted > 0].mean())
    metric.reset_state()
    metric.update_state(np.eye(3, dtype="float32")[answers], LOGITS)
    close(metric.result(), 1)
    assert metric.name == "accuracy"
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert isinstance(copy, Accuracy) and copy.name == "accuracy"


def test_a_single_class_has_integer_labels():
    one = np.zeros((4, 1), "int32")
    close(Crossentropy()(one, np.ones((4, 1), "float32")), 0)
