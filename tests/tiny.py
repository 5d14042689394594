"""A training so small that a test can kill it: what both processes run."""

import keras

import stzoo
from stzoo.data.reading import Reading
from stzoo.training.finetune import finetune
from stzoo.training.recipes import RECIPES

RECIPE = RECIPES["cost"].resized(epochs=3, batch_size=2)


def build(classes=2):
    keras.utils.set_random_seed(0)
    clip = (2, 32, 32, 3)
    return stzoo.c2d_tiny(classes, input_shape=clip, width=4, depths=(1, 1))


def run(folder, videos, classes=2, epochs=None, **kwargs):
    recipe = RECIPE.resized(epochs) if epochs else RECIPE
    kwargs = {"reading": Reading(num_workers=1), "verbose": 0, **kwargs}
    return finetune(build(classes), videos, folder, recipe, **kwargs)
