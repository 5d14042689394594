"""What a training and a test of learning rates derive from a recipe in the same way."""

import dataclasses
import math
from dataclasses import dataclass

from stzoo.data.pipeline import steps
from stzoo.data.reading import Reading
from stzoo.data.transforms import Augment
from stzoo.training import weighting
from stzoo.training.recipes import Recipe, named
from stzoo.weights.config import ClipConfig


@dataclass(frozen=True)
class Setup:
    """A recipe for a model and its training videos.

    Args:
        recipe: `stzoo.training.recipes.Recipe`, lengthened for the videos.
        reading: `stzoo.data.reading.Reading`, with the frame rate of the recipe.
        clip: `stzoo.weights.config.ClipConfig`, with this frame rate.
        augment: `stzoo.data.transforms.Augment`.
        class_weights: tuple of floats, the weight of each class, or `None`.
    """

    recipe: Recipe
    reading: Reading
    clip: ClipConfig
    augment: Augment
    class_weights: tuple[float, ...] | None

    @classmethod
    def of(cls, model, train, recipe, reading, mirror_pairs, class_weight):
        """Creates the record from the arguments of `stzoo.finetune`."""
        recipe = named(recipe)
        count = steps(train, recipe.batch_size, repeats=recipe.repeats)
        recipe = recipe.lengthened(count) if count else recipe  # 0: an error follows
        fps = recipe.sample_fps or reading.sample_fps
        reading = dataclasses.replace(reading, sample_fps=fps)
        clip = reading.timed(model.stzoo.clip)
        augment = recipe.augment(clip, train.classes, mirror_pairs)
        weights = weighting.class_weights(train, class_weight, augment.pairs)
        return cls(recipe, reading, clip, augment, weights)

    def steps(self, train):
        """Returns the number of batches of an epoch."""
        return steps(train, self.recipe.batch_size, repeats=self.recipe.repeats)

    def epochs(self, train):
        """Returns the number of epochs, and of those that train only the head."""
        count = self.steps(train)
        every, first = self.recipe.steps(count), self.recipe.first_steps(count)
        return math.ceil(every / count), math.ceil(first / count)

    def loss(self, videos):
        """Returns the loss for `model.compile`."""
        return self.recipe.loss(self.class_weights, videos.multi_label)
