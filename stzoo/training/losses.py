"""The loss and the accuracy for labels that are classes or probabilities."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("stzoo")
class Crossentropy(keras.losses.Loss):
    """Cross-entropy of labels and logits, with weights of classes.

    Labels are integers, or probabilities `(batch, classes)`, such as those of mixup.
    For integers, it is `keras.losses.CategoricalCrossentropy` of one-hot labels. The
    loss of a clip is multiplied by the weight of its class, and the mean is over the
    clips of a batch, as with `class_weight` of `fit`, which Keras refuses for
    iterators. The loss for probabilities is the sum of the losses for each class, times
    its probability. Sample weights of 0 exclude clips from the mean.

    Args:
        label_smoothing: float, the share of a label that is spread over all classes.
        class_weights: sequence of floats, the weight of each class. `None`: all are 1.
    """

    def __init__(self, label_smoothing=0.0, class_weights=None, **kwargs):
        super().__init__(**{"reduction": "mean_with_sample_weight", **kwargs})
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else tuple(class_weights)

    def call(self, y_true, y_pred):
        classes = y_pred.shape[-1]
        labels = y_true
        if not are_probabilities(y_true, y_pred):
            labels = ops.one_hot(_integers(y_true), classes, dtype=y_pred.dtype)
        if self.class_weights is not None:
            labels = labels * ops.convert_to_tensor(self.class_weights, labels.dtype)
        spread = self.label_smoothing * ops.mean(labels, axis=-1, keepdims=True)
        labels = (1 - self.label_smoothing) * labels + spread
        return -ops.sum(labels * ops.log_softmax(y_pred, axis=-1), axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "class_weights": self.class_weights,
        }


@keras.saving.register_keras_serializable("stzoo")
class Accuracy(keras.metrics.MeanMetricWrapper):
    """The share of clips whose largest logit is that of their class.

    Labels are integers, or probabilities `(batch, classes)`, whose class is the most
    probable one. `"accuracy"` of Keras takes only those labels with which it was first
    called.
    """

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(_are_right, name, dtype)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


def are_probabilities(y_true, y_pred):
    """Returns whether labels are probabilities of the classes, and not integers."""
    return y_true.shape[1:] == y_pred.shape[1:] and y_pred.shape[-1] > 1


def _are_right(y_true, y_pred):
    """Returns 1 for each clip that is classified correctly, and 0 for others."""
    if are_probabilities(y_true, y_pred):
        labels = ops.argmax(y_true, axis=-1)
    else:
        labels = _integers(y_true)
    answers = ops.argmax(y_pred, axis=-1)
    return ops.cast(ops.cast(answers, "int32") == ops.cast(labels, "int32"), "float32")


def _integers(labels):
    return ops.cast(ops.reshape(labels, (-1,)), "int32")
