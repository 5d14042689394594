"""The schedules with which the papers were trained, for models and data of any size.

What belongs to the weights (frames, their stride, crop, normalisation) is in
`stzoo.weights.config.ClipConfig`. What belongs to the training is here, a record for
each:

| recipe            | source                                                        |
|-------------------|---------------------------------------------------------------|
| `cost`            | the code of CoST, Kinetics-400                                |
| `cost_paper`      | CoST, Section 4.2                                             |
| `p3d_ucf101`      | P3D, Section 3.3 (UCF101)                                     |
| `p3d_sports1m`    | P3D, Section 4.1 (Sports-1M)                                  |
| `tsn_ucf101`      | the code of TSN, UCF101                                       |
| `tsm`             | the code of TSM, Kinetics-400                                 |
| `tsm_ucf101`      | the code of TSM, from Kinetics to UCF101                      |
| `gsm`             | the code of GSM, Something-Something v1                       |
| `cstm`            | that of GSM, from which CSTM descends                         |

All recipes deviate from their sources in these points. The rate of a warm-up or a
cosine changes with each step; in the sources it changes with each epoch. Biases and
batch norms are not decayed, as in TSM and GSM; the code of CoST decays them. A mirrored
video gets the class of its mirror image, see `Recipe.augment`; only GSM's code does
that. CoST's paper trained with two asynchronous workers; here all devices step
together.
"""

import dataclasses
from dataclasses import dataclass

import keras

from stzoo.data.mirroring import mirror_pairs
from stzoo.data.transforms import Augment
from stzoo.training.sgd import SGD


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: SGD with momentum, and what surrounds it.

    Args:
        name: string.
        source: string, where the numbers come from.
        learning_rate: float, the learning rate for `batch_size`.
        batch_size: int, clips in a step, of all devices together.
        epochs: int, passes over the data; or
        iterations: int, steps.
        milestones: tuple of floats, shares of the training after which the rate is
            divided by 10. Empty: it falls along half a cosine.
        warmup: float, the share of the training in which the rate first rises, from a
            tenth, in a line.
        momentum: float.
        weight_decay: float, weight decay of kernels.
        clipnorm: float, the largest norm of all gradients together, or `None`.
        head_rate: float, how many times the rate the new head learns with.
        bias_rate: float, how many times the rate biases learn with.
        dropout: float, share of the features that is dropped before the head.
        frozen: bool, whether all batch norms but the first keep their statistics and
            parameters.
        short_sides: tuple of two floats, the range of the shorter side of frames, as
            multiples of `ClipConfig.short_side`, before a crop at a random place; or
        scales: tuple of floats, the sizes of TSN's crops, see `Augment`.
        flip: bool, whether every other clip is mirrored.
        views: string, clips x crops of a video when it is tested.
        sample_fps: float, see videos as if they had so many frames per second, see
            `stzoo.weights.config.ClipConfig`. The model is fed so from then on.
        inferred: tuple of strings, which of these the source does not give, or
            `("all",)`. They are what is customary, or what the other sources have.
    """

    name: str
    source: str
    learning_rate: float
    batch_size: int
    epochs: int | None = None
    iterations: int | None = None
    milestones: tuple[float, ...] = ()
    warmup: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clipnorm: float | None = None
    head_rate: float = 1.0
    bias_rate: float = 1.0
    dropout: float = 0.5
    frozen: bool = False
    short_sides: tuple[float, float] | None = None
    scales: tuple[float, ...] = ()
    flip: bool = True
    views: str = "1x1"
    sample_fps: float | None = None
    inferred: tuple[str, ...] = ()

    def __post_init__(self):
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError(
                f"Recipe {self.name}: give the length in epochs or in iterations. "
                f"Received: epochs={self.epochs}, iterations={self.iterations}."
            )
        for name in ("batch_size", "epochs", "iterations"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(
                    f"Recipe {self.name}: {name} must be a whole number from 1. "
                    f"Received: {value!r}."
                )
        if not all(0 < share < 1 for share in (*self.milestones, self.warmup or 0.5)):
            raise ValueError(
                f"Recipe {self.name}: milestones and warmup are shares of the "
                f"training, between 0 and 1. Received: {self.milestones}, "
                f"{self.warmup}."
            )
        if self.milestones and self.warmup:
            raise ValueError(
                f"Recipe {self.name}: only a cosine has a warm-up. Leave out "
                "milestones or warmup."
            )

    def resized(self, epochs=None, batch_size=None):
        """The same recipe for another length or another batch.

        The rate follows the batch in proportion (Goyal et al.: Accurate, Large
        Minibatch SGD. 2017, Section 2.1), and iterations see as many clips as before.
        Drops and warm-up are shares, so they move with the length.

        Args:
            epochs: int, or `None` for the length of the recipe.
            batch_size: int, or `None` for that of the recipe.
        """
        new = {}
        if batch_size is not None and batch_size != self.batch_size:
            new = {
                "batch_size": batch_size,
                "learning_rate": self.learning_rate * batch_size / self.batch_size,
            }
            if self.iterations:
                new["iterations"] = max(
                    1, round(self.iterations * self.batch_size / batch_size)
                )
        if epochs is not None:
            new |= {"epochs": epochs, "iterations": None}
        return dataclasses.replace(self, **new)

    def steps(self, steps_per_epoch):
        """The number of steps of the whole training."""
        return self.iterations or self.epochs * steps_per_epoch

    def schedule(self, steps_per_epoch):
        """The learning rate of each step, as a schedule of Keras."""
        steps = self.steps(steps_per_epoch)
        if self.milestones:
            # The rate of Keras' schedule still holds at a boundary itself.
            boundaries = [round(share * steps) - 1 for share in self.milestones]
            values = [
                self.learning_rate * 0.1**drop
                for drop in range(len(self.milestones) + 1)
            ]
            return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)
        rising = min(round(self.warmup * steps), steps - 1)
        return keras.optimizers.schedules.CosineDecay(
            0.1 * self.learning_rate if rising else self.learning_rate,
            steps - rising,
            warmup_target=self.learning_rate if rising else None,
            warmup_steps=rising,
        )

    def optimizer(self, steps_per_epoch):
        """The optimizer, for `model.compile`.

        Args:
            steps_per_epoch: int, batches of the data, see `stzoo.data.pipeline.steps`.

        Returns:
            `stzoo.training.sgd.SGD`.
        """
        rates = {"^fc/": self.head_rate, "bias$": self.bias_rate}
        return SGD(
            self.schedule(steps_per_epoch),
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            rates={pattern: rate for pattern, rate in rates.items() if rate != 1},
            global_clipnorm=self.clipnorm,
        )

    def prepare(self, model):
        """Sets the dropout of a model, and freezes its batch norms if need be.

        To be called before `model.compile`.

        Args:
            model: a model of the zoo.
        """
        model.get_layer("dropout").rate = self.dropout
        if self.frozen:
            for norm in _batch_norms(model)[1:]:
                norm.trainable = False

    def augment(self, clip, classes=(), given=()):
        """How clips are varied in training.

        Args:
            clip: `stzoo.weights.config.ClipConfig`, what the model expects.
            classes: sequence of strings, the names of the classes: a mirrored video
                gets the class of its mirror image, "right to left" for "left to
                right", and one whose mirror image has no class is not mirrored.
            given: pairs of classes that the names do not tell, or the path of a file
                of them, see `stzoo.data.mirroring.mirror_pairs`.

        Returns:
            `stzoo.data.transforms.Augment`.

        Raises:
            ValueError: pairs are given but the recipe mirrors no clips, or a pair is
                not of two classes.
        """
        if given and not self.flip:
            raise ValueError(
                f"Recipe {self.name}: with flip=False no clip is mirrored, so pairs of "
                f"classes have no effect. Leave out one of both. Received: {given!r}."
            )
        sides = self.short_sides and tuple(
            round(clip.short_side * factor) for factor in self.short_sides
        )
        pairs = mirror_pairs(classes, given) if self.flip and classes else None
        return Augment(sides, self.scales, self.flip, pairs)


def _batch_norms(model):
    """The batch norms of a model in its order, those inside of operators too."""
    layers = []
    for layer in model.layers:
        # Those inside of operators: of GateShift, and of CSTM, whose shift may be one.
        shift = getattr(layer, "shifted", None)
        layers += [layer, getattr(layer, "bn", None), getattr(shift, "bn", None)]
    return [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]


_CROPS = (1, 0.875, 0.75, 0.66)  # of TSN, and the line that follows it

_GSM = Recipe(
    "gsm",
    source="https://github.com/swathikirans/GSM, Something-Something v1",
    learning_rate=0.01,
    batch_size=32,
    epochs=60,
    warmup=1 / 6,
    weight_decay=5e-4,
    clipnorm=20.0,
    bias_rate=2.0,
    scales=_CROPS,
    views="2x3",
    inferred=("views",),  # two clips in the code; three crops, as TSM's on this data
)
_RECIPES = (
    Recipe(
        "cost",
        source="https://github.com/hikvision-research/cost, Kinetics-400",
        learning_rate=0.01,
        batch_size=64,
        epochs=160,
        milestones=(0.5, 0.75),
        clipnorm=40.0,
        views="10x3",
    ),
    Recipe(
        "cost_paper",
        source="CoST, Section 4.2",
        learning_rate=0.005,
        batch_size=32,
        iterations=600_000,
        milestones=(0.5, 0.75),
        views="10x1",  # of the whole frame: `input_shape=(8, None, None, 3)`
        inferred=("dropout", "flip"),
    ),
    Recipe(
        "p3d_ucf101",
        source="P3D, Section 3.3",
        learning_rate=0.001,
        batch_size=128,
        iterations=7_500,
        milestones=(0.4, 0.8),
        dropout=0.9,
        frozen=True,
        short_sides=(1, 1),
        views="20x1",
        inferred=("batch_size", "momentum", "weight_decay"),
    ),
    Recipe(
        "p3d_sports1m",
        source="P3D, Section 4.1",
        learning_rate=0.001,
        batch_size=128,
        iterations=150_000,
        milestones=(0.4, 0.8),
        dropout=0.1,
        frozen=True,
        short_sides=(1, 1),
        views="20x1",
        inferred=("batch_size", "momentum", "weight_decay"),
    ),
    Recipe(
        "tsn_ucf101",
        source="https://github.com/yjxiong/tsn-pytorch, UCF101, RGB",
        learning_rate=0.001,
        batch_size=128,
        epochs=80,
        milestones=(0.375, 0.75),
        weight_decay=5e-4,
        clipnorm=20.0,
        bias_rate=2.0,
        dropout=0.8,
        frozen=True,
        scales=_CROPS,
        inferred=("views",),  # ten crops of 25 frames there
    ),
    Recipe(
        "tsm",
        source="https://github.com/mit-han-lab/temporal-shift-module, Kinetics-400",
        learning_rate=0.02,
        batch_size=128,
        epochs=50,
        milestones=(0.4, 0.8),
        clipnorm=20.0,
        head_rate=5.0,
        bias_rate=2.0,
        scales=_CROPS,
    ),
    Recipe(
        "tsm_ucf101",
        source="https://github.com/mit-han-lab/temporal-shift-module, from Kinetics",
        learning_rate=0.001,
        batch_size=64,
        epochs=25,
        milestones=(0.4, 0.8),
        weight_decay=5e-4,
        clipnorm=20.0,
        head_rate=5.0,
        bias_rate=2.0,
        dropout=0.8,
        frozen=True,
        scales=_CROPS,
    ),
    _GSM,
    dataclasses.replace(
        _GSM,
        name="cstm",
        source="none: CSTM gives no numbers of its training",
        inferred=("all",),
    ),
)
RECIPES = {recipe.name: recipe for recipe in _RECIPES}


def named(recipe):
    """A recipe, which may be given by its name.

    Raises:
        ValueError: there is no recipe of this name.
    """
    if not isinstance(recipe, str):
        return recipe
    if recipe not in RECIPES:
        raise ValueError(
            f"There is no recipe {recipe!r}. Choose one of {', '.join(RECIPES)}."
        )
    return RECIPES[recipe]
