"""The loss for label smoothing and for weights of classes."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("stzoo")
class Crossentropy(keras.losses.Loss):
    """Cross-entropy of integer labels and logits, with weights of classes.

    It is `keras.losses.CategoricalCrossentropy` of one-hot labels. The loss of a clip
    is multiplied by the weight of its class, and the mean is over the clips of a batch,
    as with `class_weight` of `fit`, which Keras refuses for iterators. Sample weights
    of 0 exclude clips from the mean.

    Args:
        label_smoothing: float, the share of a label that is spread over all classes.
        class_weights: sequence of floats, the weight of each class. `None`: all are 1.
    """

    def __init__(self, label_smoothing=0.0, class_weights=None, **kwargs):
        super().__init__(**{"reduction": "mean_with_sample_weight", **kwargs})
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else tuple(class_weights)

    def call(self, y_true, y_pred):
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        losses = keras.losses.categorical_crossentropy(
            ops.one_hot(labels, ops.shape(y_pred)[-1]),
            y_pred,
            from_logits=True,
            label_smoothing=self.label_smoothing,
        )
        if self.class_weights is None:
            return losses
        weights = ops.convert_to_tensor(self.class_weights, losses.dtype)
        return losses * ops.take(weights, labels)

    def get_config(self):
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "class_weights": self.class_weights,
        }
