import measure_saliency
import numpy as np

import stzoo
from stzoo.data import motions


def test_mass_and_area_are_those_of_the_masks(monkeypatch):
    """An even map has the share of the area; one that is the mask has all."""
    model = stzoo.cost_tiny(width=8, depths=(1, 1))
    shapes = []

    def even(model, clips, layer, classes):
        shapes.append(np.shape(clips))
        maps = np.ones(np.shape(clips)[:-1])
        maps[0] = 0  # no evidence for the class
        maps[1:] *= measure_saliency.scene(1, model)[1]
        return maps

    monkeypatch.setattr(measure_saliency, "saliency", even)
    monkeypatch.setattr(measure_saliency, "BATCH", 2)
    mass, area = measure_saliency.measure(model, 3)
    assert shapes == [(2, 8, 64, 64, 3), (1, 8, 64, 64, 3)]
    assert np.isnan(mass[[0, 2]]).all() and mass[1] == 1
    frames = motions.mask([measure_saliency.SEED, 1])[3:19:2]
    assert abs(area[1] - frames.mean() * (72 / 64) ** 2) < 0.003  # 64 of 72 are seen
