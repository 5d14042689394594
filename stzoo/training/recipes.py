"""The training recipes: `small_data` for one's own videos, and those of the papers.

Settings of the weights (frames, their stride, crop, normalisation) are in
`stzoo.weights.config.ClipConfig`. Settings of the training are here:

| recipe            | source                                                        |
|-------------------|---------------------------------------------------------------|
| `small_data`      | measured on rendered videos, see `studies/small_data`         |
| `cost`            | the code of CoST, Kinetics-400                                |
| `cost_paper`      | CoST, Section 4.2                                             |
| `p3d_ucf101`      | P3D, Section 3.3 (UCF101)                                     |
| `p3d_sports1m`    | P3D, Section 4.1 (Sports-1M)                                  |
| `tsn_ucf101`      | the code of TSN, UCF101                                       |
| `tsm`             | the code of TSM, Kinetics-400                                 |
| `tsm_ucf101`      | the code of TSM, from Kinetics to UCF101                      |
| `gsm`             | the code of GSM, Something-Something v1                       |
| `cstm`            | the recipe of GSM, on which CSTM is based                     |
| `videomae`        | the code of VideoMAE, ViT-B, Kinetics-400                     |
| `videomae_sthv2`  | the code of VideoMAE, ViT-B, Something-Something v2           |
| `vjepa2_probe`    | the code of V-JEPA 2, attentive probe                         |

The recipes of the papers deviate from their sources in these points:

* The learning rate of a warm-up or a cosine changes with each step. In the sources it
  changes with each epoch.
* Biases and norms are not decayed, as in TSM, GSM and VideoMAE. The code of CoST and
  that of V-JEPA 2 decay them.
* A mirrored video gets the class of its mirror image, see `Recipe.augment`. Only the
  code of GSM does this.
* The paper of CoST trained with two asynchronous workers. Here all devices are
  synchronous.
* VideoMAE starts the warm-up at 1e-6 and ends the cosine there, and its new head starts
  with a thousandth of the usual weights.
* VideoMAE and V-JEPA 2 also erase a rectangle in a quarter of the clips, and apply
  RandAugment before the crop, not after it.
* The probe of V-JEPA 2 sees one clip of a video in a step, not two.
"""

import dataclasses
import math
from dataclasses import dataclass

import keras

from stzoo.data.mirroring import mirror_pairs
from stzoo.data.transforms import Augment, check_regularisation
from stzoo.layers.ends import HEAD
from stzoo.training import freezing, transformers
from stzoo.training.adamw import AdamW
from stzoo.training.losses import Crossentropy
from stzoo.training.multilabel import BinaryCrossentropy
from stzoo.training.schedules import OverParts
from stzoo.training.sgd import SGD

ALGORITHMS = ("sgd", "adamw")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: the optimizer, its schedule and the augmentation.

    Args:
        name: string.
        source: string, where the numbers come from.
        learning_rate: float, the learning rate for `batch_size`.
        batch_size: int, clips per step, over all devices.
        epochs: int, length of the training in epochs. Give either this or `iterations`.
        iterations: int, length of the training in steps.
        min_steps: int, number of steps that a training has at least. If `epochs` are
            fewer steps, it has more epochs, see `lengthened`.
        milestones: tuple of floats, fractions of the training after which the learning
            rate is divided by 10. If empty, it decays along half a cosine.
        warmup: float, fraction of the training in which the learning rate rises
            linearly, starting at a tenth.
        algorithm: string, `"sgd"` (`stzoo.training.sgd.SGD`) or `"adamw"`
            (`stzoo.training.adamw.AdamW`).
        rate_power: float, how the learning rate follows another batch size, see
            `resized`: 1 in proportion, 0.5 with the square root, 0 not at all.
        head_first: float, fraction of the training in which only the head is trained.
        momentum: float, of SGD.
        weight_decay: float, weight decay of kernels.
        clipnorm: float, maximum global norm of the gradients, or `None`.
        head_rate: float, multiplier of the learning rate of a new head.
        bias_rate: float, multiplier of the learning rate of biases.
        dropout: float, fraction of the features that is dropped before the head.
        frozen: bool, whether to freeze the statistics and parameters of all batch norms
            except the first.
        freeze: string or int. `"norms"`: the statistics and parameters of all batch
            norms are frozen, except of those without statistics, which are new. A
            number: also that many of the first stages, see
            `stzoo.training.freezing.freeze_stages`. `"backbone"`: everything but the
            head is frozen. `"encoder"`: everything but the attentive probe of V-JEPA 2
            is frozen. `"none"`: only what `frozen` says.
        label_smoothing: float from 0 to 1, the share of a label that is spread over all
            classes.
        focal: float, the exponent of the focal loss for several labels a video, see
            `stzoo.training.multilabel.BinaryCrossentropy`. 0: the plain loss.
        patience: int, number of epochs without improvement after which training stops,
            if there are validation videos. It counts from the first epoch in which all
            layers are trained. `None`: training does not stop early.
        short_sides: tuple of two floats, range of the shorter side of frames, as
            multiples of `ClipConfig.short_side`, before a random crop. Give either this
            or `scales`.
        scales: tuple of floats, sizes of TSN's crops, see `Augment`.
        area, randaugment, mixup, cutmix, repeats: see `Augment`.
        ema: float, momentum of the moving average of the weights, such as 0.999. The
            average is validated and kept. 0: the weights themselves are.
        layer_decay: float, multiplier of the learning rate from each block of a
            transformer to the one before it, see `stzoo.training.transformers`.
        drop_path: float, rate of dropped branches in the last block of a transformer.
            It rises linearly from 0 in the first one.
        accumulate: int, number of parts of a batch. Gradients are averaged over the
            parts, so a step needs less memory. The result is that of the whole batch,
            apart from rounding and from batch norms that are not frozen.
        rematerialize: bool, whether outputs of layers are computed again for the
            gradient, instead of being kept, see `stzoo.layers.rematerialization`. A
            step needs less memory and more time, and has the same result.
        flip: bool, whether to mirror clips at random, with a probability of 0.5.
        views: string, clips x crops of a video for testing.
        sample_fps: float, frame rate to which videos are resampled, see
            `stzoo.weights.config.ClipConfig`. It becomes a property of the model.
        inferred: tuple of strings, the settings that the source does not give, or
            `("all",)`. They are customary values, or those of the other sources.
    """

    name: str
    source: str
    learning_rate: float
    batch_size: int
    epochs: int | None = None
    iterations: int | None = None
    min_steps: int = 0
    milestones: tuple[float, ...] = ()
    warmup: float = 0.0
    algorithm: str = "sgd"
    rate_power: float = 1.0
    head_first: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clipnorm: float | None = None
    head_rate: float = 1.0
    bias_rate: float = 1.0
    dropout: float = 0.5
    frozen: bool = False
    freeze: str | int = "none"
    label_smoothing: float = 0.0
    focal: float = 0.0
    patience: int | None = None
    short_sides: tuple[float, float] | None = None
    scales: tuple[float, ...] = ()
    area: tuple[float, float] | None = None
    randaugment: tuple[int, float] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    repeats: int = 1
    ema: float = 0.0
    layer_decay: float = 1.0
    drop_path: float = 0.0
    accumulate: int = 1
    rematerialize: bool = False
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
        for name in ("batch_size", "epochs", "iterations", "accumulate"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(
                    f"Recipe {self.name}: {name} must be an integer, at least 1. "
                    f"Received: {value!r}."
                )
        self._check_choices()
        check_regularisation(self, f"Recipe {self.name}")
        if not all(0 < share < 1 for share in (*self.milestones, self.warmup or 0.5)):
            raise ValueError(
                f"Recipe {self.name}: milestones and warmup are fractions of the "
                f"training, between 0 and 1. Received: {self.milestones}, "
                f"{self.warmup}."
            )
        if self.milestones and self.warmup:
            raise ValueError(
                f"Recipe {self.name}: only a cosine has a warm-up. Remove either "
                "milestones or warmup."
            )

    def _check_choices(self):
        if self.algorithm not in ALGORITHMS:
            raise ValueError(
                f"Recipe {self.name}: algorithm must be one of "
                f"{', '.join(ALGORITHMS)}. Received: {self.algorithm!r}."
            )
        is_count = type(self.freeze) is int and self.freeze > 0
        if not is_count and self.freeze not in freezing.FREEZE:
            raise ValueError(
                f"Recipe {self.name}: freeze must be one of "
                f"{', '.join(freezing.FREEZE)}, or a number of stages. Received: "
                f"{self.freeze!r}."
            )
        shares = ("head_first", "dropout", "label_smoothing", "drop_path", "ema")
        for name in shares:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"Recipe {self.name}: {name} must be at least 0 and less than 1. "
                    f"Received: {getattr(self, name)!r}."
                )
        if not self.focal >= 0:
            raise ValueError(
                f"Recipe {self.name}: focal must be at least 0. Received: {self.focal}."
            )
        if not 0 < self.layer_decay <= 1:
            raise ValueError(
                f"Recipe {self.name}: layer_decay must be above 0 and at most 1. "
                f"Received: {self.layer_decay!r}."
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"Recipe {self.name}: accumulate must divide batch_size. Received: "
                f"accumulate={self.accumulate}, batch_size={self.batch_size}."
            )
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ValueError(
                f"Recipe {self.name}: learning_rate must be positive, and weight_decay "
                f"at least 0. Received: {self.learning_rate}, {self.weight_decay}."
            )

    def resized(self, epochs=None, batch_size=None):
        """Returns this recipe with another length or another batch size.

        The learning rate scales with the batch size (Goyal et al.: Accurate, Large
        Minibatch SGD. 2017, Section 2.1), to the power of `rate_power`. A length in
        iterations is changed to keep the number of clips. Milestones and warm-up are
        fractions, so they follow the length.

        Args:
            epochs: int, or `None` for the length of the recipe. Then `min_steps` is 0.
            batch_size: int, or `None` for that of the recipe.
        """
        new = {}
        if batch_size is not None and batch_size != self.batch_size:
            new = {
                "batch_size": batch_size,
                "learning_rate": self.learning_rate
                * (batch_size / self.batch_size) ** self.rate_power,
            }
            if self.iterations:
                new["iterations"] = max(
                    1, round(self.iterations * self.batch_size / batch_size)
                )
        if epochs is not None:
            new |= {"epochs": epochs, "iterations": None, "min_steps": 0}
        return dataclasses.replace(self, **new)

    def lengthened(self, steps_per_epoch):
        """Returns this recipe with the epochs and the patience that `min_steps` needs.

        Both are multiplied by the same integer.
        """
        if not self.epochs or self.steps(steps_per_epoch) >= self.min_steps:
            return self
        factor = math.ceil(self.min_steps / self.steps(steps_per_epoch))
        patience = self.patience and factor * self.patience
        return dataclasses.replace(self, epochs=factor * self.epochs, patience=patience)

    def steps(self, steps_per_epoch):
        """Returns the number of steps of the whole training."""
        return self.iterations or self.epochs * steps_per_epoch

    def schedule(self, steps_per_epoch):
        """Returns the learning rate of each step, as a schedule of Keras."""
        steps = self.steps(steps_per_epoch)
        if self.milestones:
            # At a boundary, Keras' schedule still returns the rate before it.
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

    def optimizer(self, steps_per_epoch, model=None):
        """Returns the optimizer for `model.compile`.

        Args:
            steps_per_epoch: int, batches of the data, see `stzoo.data.pipeline.steps`.
            model: a model of the zoo. Only `layer_decay` needs it.

        Returns:
            `stzoo.training.sgd.SGD` or `stzoo.training.adamw.AdamW`.

        Raises:
            ValueError: `layer_decay` is set, and the model is not a transformer.
        """
        rates = {f"^{HEAD}/": self.head_rate, "bias$": self.bias_rate}
        if self.layer_decay != 1:
            rates |= transformers.rates(model, self.layer_decay)
        start = self.first_steps(steps_per_epoch)
        settings = {
            "weight_decay": self.weight_decay,
            "rates": {pattern: rate for pattern, rate in rates.items() if rate != 1},
            "starts": {f"^(?!{HEAD}/)": start} if start else {},
            "global_clipnorm": self.clipnorm,
        }
        schedule = self.schedule(steps_per_epoch)
        if self.accumulate > 1:
            schedule = OverParts(schedule, self.accumulate)
            settings["gradient_accumulation_steps"] = self.accumulate
        if self.ema:
            # Keras updates the average after each part of a batch.
            momentum = self.ema ** (1 / self.accumulate)
            settings |= {"use_ema": True, "ema_momentum": momentum}
        if self.algorithm == "adamw":
            return AdamW(schedule, **settings)
        return SGD(schedule, momentum=self.momentum, **settings)

    def first_steps(self, steps_per_epoch):
        """Returns the number of steps in which only the head is trained."""
        return round(self.head_first * self.steps(steps_per_epoch))

    def loss(self, class_weights=None, multi_label=False):
        """Returns the loss for `model.compile`.

        Args:
            class_weights: sequence of floats, the weight of each class, or `None`.
            multi_label: bool, whether a video can have several labels.
        """
        if multi_label:
            return BinaryCrossentropy(self.label_smoothing, class_weights, self.focal)
        if self.focal:
            raise ValueError(
                f"Recipe {self.name}: focal is for videos with several labels. These "
                f"have one. Received: focal={self.focal}."
            )
        mixes = self.mixup or self.cutmix
        if not (self.label_smoothing or mixes) and class_weights is None:
            return keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            )
        return Crossentropy(self.label_smoothing, class_weights)

    def prepare(self, model):
        """Sets the dropout of a model, and freezes the layers that are not trained.

        Call it before `model.compile`.

        Args:
            model: a model of the zoo.

        Raises:
            ValueError: a setting is for another kind of model.
        """
        model.get_layer("dropout").rate = self.dropout
        transformers.set_drop_path(model, self.drop_path)
        if self.rematerialize:
            model.rematerialize = True
        if self.frozen:
            for norm in freezing.batch_norms(model)[1:]:
                norm.trainable = False
        freezing.freeze(model, self.freeze)

    def augment(self, clip, classes=(), given=()):
        """Returns the augmentation of clips in training.

        Args:
            clip: `stzoo.weights.config.ClipConfig`, what the model expects.
            classes: sequence of strings, the names of the classes. A mirrored video
                gets the class of its mirror image, such as "right to left" for "left to
                right". A video whose mirror image has no class is not mirrored.
            given: pairs of classes that the names do not show, or the path of a file
                of them, see `stzoo.data.mirroring.mirror_pairs`.

        Returns:
            `stzoo.data.transforms.Augment`.

        Raises:
            ValueError: pairs are given but the recipe mirrors no clips, or a pair does
                not consist of two classes.
        """
        if given and not self.flip:
            raise ValueError(
                f"Recipe {self.name}: with flip=False no clip is mirrored, so pairs of "
                f"classes have no effect. Remove one of them. Received: {given!r}."
            )
        sides = self.short_sides and tuple(
            round(clip.short_side * factor) for factor in self.short_sides
        )
        pairs = mirror_pairs(classes, given) if self.flip and classes else None
        return Augment(
            *(sides, self.scales, self.flip, pairs),
            area=self.area,
            randaugment=self.randaugment,
            mixup=self.mixup,
            cutmix=self.cutmix,
            repeats=self.repeats,
        )


_CROPS = (1, 0.875, 0.75, 0.66)  # of TSN, TSM, GSM and CSTM
_AREA = (0.08, 1.0)  # of VideoMAE and V-JEPA 2
_RANDAUGMENT = (4, 7)  # of VideoMAE and V-JEPA 2

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
    inferred=("views",),  # two clips in the code; three crops as in TSM on this data
)
# run_class_finetuning.py and its script for 64 GPUs with 6 videos each. Its rate of
# 5e-4 is for 256 videos, and each video gives 2 of the 768 clips.
_VIDEOMAE = Recipe(
    "videomae",
    source="https://github.com/MCG-NJU/VideoMAE, ViT-B, Kinetics-400",
    learning_rate=5e-4 * 384 / 256,
    batch_size=768,
    epochs=75,
    warmup=5 / 75,
    algorithm="adamw",
    weight_decay=0.05,
    dropout=0.0,
    label_smoothing=0.1,
    area=_AREA,
    randaugment=_RANDAUGMENT,
    mixup=0.8,
    cutmix=1.0,
    repeats=2,
    layer_decay=0.75,
    drop_path=0.1,
    views="5x3",
)
_RECIPES = (
    Recipe(
        "small_data",
        source="studies/small_data, on rendered videos",
        learning_rate=1e-3,
        batch_size=8,
        epochs=20,
        min_steps=300,
        warmup=0.2,
        algorithm="adamw",
        rate_power=0.5,
        head_first=0.25,
        weight_decay=0.01,
        clipnorm=1.0,
        head_rate=10.0,
        freeze="norms",
        patience=10,
    ),
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
        views="10x1",  # the whole frame: `input_shape=(8, None, None, 3)`
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
        inferred=("views",),  # the source has ten crops of 25 frames
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
    _VIDEOMAE,
    dataclasses.replace(
        _VIDEOMAE,
        name="videomae_sthv2",
        source="https://github.com/MCG-NJU/VideoMAE, ViT-B, Something-Something v2",
        epochs=30,
        warmup=5 / 30,
        flip=False,
        views="2x3",
    ),
    Recipe(
        "vjepa2_probe",
        source="https://github.com/facebookresearch/vjepa2, Something-Something v2",
        learning_rate=1e-3,
        batch_size=256,
        epochs=20,
        algorithm="adamw",
        weight_decay=0.1,
        dropout=0.0,
        freeze="encoder",
        area=_AREA,
        randaugment=_RANDAUGMENT,
        flip=False,
        views="2x3",
        # The code trains 20 probes, with rates from 1e-4 to 5e-3 and decays from 0.01
        # to 0.8, and reports the best one.
        inferred=("learning_rate", "weight_decay"),
    ),
)
RECIPES = {recipe.name: recipe for recipe in _RECIPES}


def named(recipe):
    """Returns a recipe, given as itself or by its name.

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
