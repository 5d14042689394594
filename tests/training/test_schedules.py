import keras
from harness import numpy

from stzoo.training.schedules import OverParts


def test_all_parts_of_a_step_have_its_rate():
    steps = keras.optimizers.schedules.CosineDecay(0.5, 4)
    schedule = OverParts(steps, 3)
    copy = keras.optimizers.schedules.deserialize(
        keras.optimizers.schedules.serialize(schedule)
    )
    for part in range(12):
        assert numpy(schedule(part)) == numpy(copy(part)) == numpy(steps(part // 3))
