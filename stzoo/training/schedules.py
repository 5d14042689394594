"""The learning rate of steps whose gradients are accumulated over several parts."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("stzoo")
class OverParts(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of steps, for an optimizer that counts the parts of a step.

    Keras 3.15 calls a schedule with the number of parts, although
    `optimizer.iterations` is the number of steps.

    Args:
        schedule: `keras.optimizers.schedules.LearningRateSchedule` of steps.
        parts: int, the `gradient_accumulation_steps` of the optimizer.
    """

    def __init__(self, schedule, parts):
        self.schedule, self.parts = schedule, parts

    def __call__(self, step):
        return self.schedule(ops.floor_divide(step, self.parts))

    def get_config(self):
        schedule = keras.optimizers.schedules.serialize(self.schedule)
        return {"schedule": schedule, "parts": self.parts}

    @classmethod
    def from_config(cls, config):
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(schedule, config["parts"])
