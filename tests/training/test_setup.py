import dataclasses

import pytest

import stzoo
from stzoo.data.datasets import Videos
from stzoo.data.reading import Reading
from stzoo.training.losses import Crossentropy
from stzoo.training.multilabel import BinaryCrossentropy
from stzoo.training.recipes import RECIPES
from stzoo.training.setup import Setup

VIDEOS = Videos(("a", "b", "c", "d"), (0, 0, 0, 1), ("left", "right"))


@pytest.fixture(scope="module")
def model():
    return stzoo.tsn_tiny(2, (2, 32, 32, 3), width=4, depth=1)


def setup(model, recipe="small_data", reading=Reading(), weight=None):
    return Setup.of(model, VIDEOS, recipe, reading, (), weight)


def test_the_frame_rate_of_a_recipe_comes_first(model):
    timed = dataclasses.replace(RECIPES["small_data"], sample_fps=12)
    for recipe, fps in ((timed, 12), ("small_data", 8)):
        found = setup(model, recipe, Reading(sample_fps=8))
        assert found.reading.sample_fps == found.clip.sample_fps == fps
    assert setup(model).clip == model.stzoo.clip


def test_few_videos_need_more_epochs(model):
    small = RECIPES["small_data"].resized(batch_size=2)
    longer = setup(model, small)
    assert longer.epochs(VIDEOS)[0] == longer.recipe.epochs == 160
    assert longer.steps(VIDEOS) * longer.recipe.epochs == 320
    assert longer.recipe.patience == 8 * small.patience
    assert setup(model, small.resized(epochs=3)).epochs(VIDEOS)[0] == 3


def test_classes_are_weighted_and_mirrored(model):
    found = setup(model, weight={"right": 3.0})
    assert found.class_weights == (1.0, 3.0)
    assert found.augment.pairs == {0: 1, 1: 0}
    assert isinstance(found.loss(VIDEOS), Crossentropy)
    assert found.loss(VIDEOS).class_weights == (1.0, 3.0)
    assert setup(model).class_weights is None
    # Half of the clips are mirrored, so both classes have two.
    assert setup(model, weight="balanced").class_weights == (1.0, 1.0)


def test_pairs_that_are_given_and_several_labels(model):
    labels = ((1, 0), (1, 0), (1, 0), (0, 1))
    videos = Videos(VIDEOS.paths, labels, ("up", "down"), multi_label=True)
    pairs = [("up", "down")]
    found = Setup.of(model, videos, "small_data", Reading(), pairs, None)
    assert found.augment.pairs == {0: 1, 1: 0}
    assert isinstance(found.loss(videos), BinaryCrossentropy)
