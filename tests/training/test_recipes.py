import dataclasses
import math

import keras
import numpy as np
import pytest
from harness import numpy

import stzoo
from stzoo.data import motions
from stzoo.data.mirroring import mirror_pairs
from stzoo.data.views import clip_views, training_clip
from stzoo.training.adamw import AdamW
from stzoo.training.losses import Crossentropy
from stzoo.training.multilabel import BinaryCrossentropy
from stzoo.training.recipes import RECIPES, Recipe, named
from stzoo.training.sgd import SGD
from stzoo.weights.config import ClipConfig


def rates(schedule, steps):
    return [float(numpy(schedule(step))) for step in steps]


def test_milestones_are_those_of_the_papers():
    # Iterations of CoST, Section 4.2: 300k and 450k of 600k.
    paper = RECIPES["cost_paper"].schedule(10)
    steps = (0, 299_999, 300_000, 449_999, 450_000, 599_999)
    expected = [5e-3, 5e-3, 5e-4, 5e-4, 5e-5, 5e-5]
    assert rates(paper, steps) == pytest.approx(expected)
    # Epochs of its code: 80 and 120 of 160.
    code = RECIPES["cost"].schedule(10)
    assert rates(code, (799, 800, 1199, 1200)) == pytest.approx(
        [1e-2, 1e-3, 1e-3, 1e-4]
    )
    # P3D: each 3K of 7.5K.
    p3d = RECIPES["p3d_ucf101"].schedule(10)
    expected = [1e-3, 1e-4, 1e-4, 1e-5]
    assert rates(p3d, (2_999, 3_000, 5_999, 6_000)) == pytest.approx(expected)


def test_warmup_and_cosine():
    """GSM rises from a tenth to the rate in 10 epochs, then decays in 50."""
    schedule = RECIPES["gsm"].schedule(4)
    expected = [
        0.01 * (0.1 + 0.9 * step / 40)
        if step < 40
        else 0.005 * (1 + math.cos(math.pi * (step - 40) / 200))
        for step in range(241)
    ]
    assert rates(schedule, range(241)) == pytest.approx(expected, abs=1e-8)
    assert expected[0] == pytest.approx(1e-3) and expected[240] == 0


# Of each source: rate, batch, length (epochs or iterations), the milestones,
# warm-up, decay, clipping, rate of the head and of biases, dropout, frozen, views.
SOURCES = {
    "cost": (0.01, 64, 160, (80, 120), 0, 1e-4, 40, 1, 1, 0.5, False, "10x3"),
    "cost_paper": (
        *(0.005, 32, 600_000, (300_000, 450_000), 0, 1e-4),
        *(None, 1, 1, 0.5, False, "10x1"),
    ),
    "p3d_ucf101": (
        *(0.001, 128, 7_500, (3_000, 6_000), 0, 1e-4, None, 1, 1, 0.9, True, "20x1"),
    ),
    "p3d_sports1m": (
        *(0.001, 128, 150_000, (60_000, 120_000), 0, 1e-4),
        *(None, 1, 1, 0.1, True, "20x1"),
    ),
    "tsn_ucf101": (0.001, 128, 80, (30, 60), 0, 5e-4, 20, 1, 2, 0.8, True, "1x1"),
    "tsm": (0.02, 128, 50, (20, 40), 0, 1e-4, 20, 5, 2, 0.5, False, "1x1"),
    "tsm_ucf101": (0.001, 64, 25, (10, 20), 0, 5e-4, 20, 5, 2, 0.8, True, "1x1"),
    "gsm": (0.01, 32, 60, (), 10, 5e-4, 20, 1, 2, 0.5, False, "2x3"),
    "cstm": (0.01, 32, 60, (), 10, 5e-4, 20, 1, 2, 0.5, False, "2x3"),
}
CROPS = {"tsn_ucf101", "tsm", "tsm_ucf101", "gsm", "cstm"}
INFERRED = {
    "cost": set(),
    "cost_paper": {"dropout", "flip"},
    "p3d_ucf101": {"batch_size", "momentum", "weight_decay"},
    "p3d_sports1m": {"batch_size", "momentum", "weight_decay"},
    "tsn_ucf101": {"views"},
    "tsm": set(),
    "tsm_ucf101": set(),
    "gsm": {"views"},
    "cstm": {"all"},
}


@pytest.mark.parametrize("name", SOURCES)
def test_recipes_have_the_numbers_of_their_sources(name):
    recipe = RECIPES[name]
    length = recipe.epochs or recipe.iterations
    assert (recipe.epochs is None) == (length > 1000)
    optimizer = (recipe.learning_rate, recipe.batch_size, length)
    schedule = tuple(share * length for share in recipe.milestones)
    limits = (recipe.warmup * length, recipe.weight_decay, recipe.clipnorm)
    heads = (recipe.head_rate, recipe.bias_rate, recipe.dropout)
    found = (*optimizer, schedule, *limits, *heads, recipe.frozen, recipe.views)
    assert found == SOURCES[name]
    assert recipe.scales == ((1, 0.875, 0.75, 0.66) if name in CROPS else ())
    assert recipe.short_sides == ((1, 1) if name.startswith("p3d") else None)
    assert (recipe.momentum, recipe.flip) == (0.9, True)
    assert set(recipe.inferred) == INFERRED[name]


# Of run_class_finetuning.py and its scripts: rate for 256 videos, videos of a step,
# epochs, and the epochs of the warm-up.
VIDEOMAE = {"videomae": (5e-4, 64 * 6, 75, 5), "videomae_sthv2": (5e-4, 64 * 6, 30, 5)}
MODERN = (*VIDEOMAE, "vjepa2_probe")


@pytest.mark.parametrize("name", VIDEOMAE)
def test_recipes_of_videomae_have_the_numbers_of_its_code(name):
    recipe = RECIPES[name]
    rate, videos, epochs, warmup = VIDEOMAE[name]
    assert recipe.learning_rate == pytest.approx(rate * videos / 256)
    assert recipe.batch_size == videos * recipe.repeats and recipe.repeats == 2
    assert recipe.epochs == epochs
    assert recipe.warmup * epochs == pytest.approx(warmup)
    assert (recipe.algorithm, recipe.weight_decay) == ("adamw", 0.05)
    optimizer = dataclasses.replace(recipe, layer_decay=1.0).optimizer(1)
    assert (optimizer.beta_1, optimizer.beta_2) == (0.9, 0.999)
    assert (recipe.layer_decay, recipe.drop_path, recipe.dropout) == (0.75, 0.1, 0)
    assert (recipe.mixup, recipe.cutmix, recipe.label_smoothing) == (0.8, 1.0, 0.1)
    assert (recipe.randaugment, recipe.area) == ((4, 7), (0.08, 1))
    assert recipe.flip == (name == "videomae")
    assert recipe.views == ("5x3" if name == "videomae" else "2x3")
    assert recipe.clipnorm is None and recipe.milestones == ()
    assert "github.com/MCG-NJU/VideoMAE, ViT-B" in recipe.source


def test_the_recipe_of_the_probe_has_the_numbers_of_its_code():
    recipe = RECIPES["vjepa2_probe"]
    assert (recipe.batch_size, recipe.epochs) == (64 * 4, 20)
    assert (recipe.algorithm, recipe.freeze) == ("adamw", "encoder")
    assert recipe.learning_rate in (5e-3, 3e-3, 1e-3, 3e-4, 1e-4)
    assert recipe.weight_decay in (0.01, 0.1, 0.4, 0.8)
    assert set(recipe.inferred) == {"learning_rate", "weight_decay"}
    assert (recipe.warmup, recipe.milestones, recipe.dropout) == (0, (), 0)
    assert (recipe.randaugment, recipe.area) == ((4, 7), (0.08, 1))
    assert (recipe.flip, recipe.views) == (False, "2x3")
    assert not recipe.mixup and not recipe.cutmix and not recipe.label_smoothing
    assert "github.com/facebookresearch/vjepa2" in recipe.source


def test_the_augmentation_of_a_recipe():
    augment = RECIPES["videomae"].augment(ClipConfig())
    assert (augment.mixup, augment.cutmix, augment.repeats) == (0.8, 1.0, 2)
    assert (augment.randaugment, augment.area) == ((4, 7), (0.08, 1))
    assert augment.mixes and not RECIPES["cost"].augment(ClipConfig()).mixes


def test_averages_and_accumulation_reach_the_optimizer():
    recipe = dataclasses.replace(RECIPES["cost"], ema=0.81, accumulate=2)
    optimizer = recipe.optimizer(1)
    assert optimizer.use_ema and optimizer.gradient_accumulation_steps == 2
    assert optimizer.ema_momentum == pytest.approx(0.9)  # twice for each step
    plain = RECIPES["cost"].optimizer(1)
    assert not plain.use_ema and plain.gradient_accumulation_steps is None


def test_the_loss_follows_the_recipe():
    plain = RECIPES["tsm"].loss()
    assert type(plain) is keras.losses.SparseCategoricalCrossentropy
    logits, labels = np.array([[2.0, -1.0]], "float32"), np.array([1])
    assert numpy(plain(labels, logits)) == pytest.approx(np.log(1 + np.exp(3)))
    smooth = dict(label_smoothing=0.1)
    for settings, weights in (
        (smooth, None),
        (dict(mixup=0.8), None),
        (dict(cutmix=1.0), None),
        ({}, (1.0, 2.0)),
        (smooth, (1.0, 2.0)),
    ):
        loss = dataclasses.replace(RECIPES["tsm"], **settings).loss(weights)
        assert type(loss) is Crossentropy
        assert loss.label_smoothing == settings.get("label_smoothing", 0)
        assert loss.class_weights == weights
    several = dataclasses.replace(RECIPES["tsm"], focal=2.0, **smooth)
    loss = several.loss((1.0, 2.0), multi_label=True)
    assert type(loss) is BinaryCrossentropy
    assert (loss.label_smoothing, loss.focal) == (0.1, 2)
    assert loss.class_weights == (1, 2)
    with pytest.raises(ValueError, match="focal is for videos with several labels. "):
        several.loss()


def test_settings_of_transformers_reach_the_model_and_the_optimizer():
    model = stzoo.vjepa2_tiny(depth=2)
    recipe = dataclasses.replace(
        RECIPES["videomae"], layer_decay=0.5, drop_path=0.3, head_rate=4.0, accumulate=2
    )
    recipe.prepare(model)
    rates = [model.get_layer(f"layer_{n}_add1_drop_path").rate for n in range(2)]
    assert rates == [0, pytest.approx(0.3)]
    assert not model.rematerialize and all(x.trainable for x in model.layers)
    optimizer = recipe.optimizer(10, model)
    assert optimizer.rates == {
        "^fc/": 4,
        "^patch_embed/": 0.125,
        "^layer_0_": 0.25,
        "^layer_1_": 0.5,
    }
    again = dataclasses.replace(recipe, freeze="encoder", rematerialize=True)
    again.prepare(model)
    assert model.rematerialize
    trained = {x.name for x in model.layers if x.trainable and x.weights}
    assert "fc" in trained and not model.get_layer("layer_1_fc1").trainable
    assert all(name.startswith(("pooler", "fc")) for name in trained)


def test_each_recipe_has_its_name_and_its_source():
    assert list(RECIPES) == ["small_data", *SOURCES, *MODERN]
    assert {name: recipe.name for name, recipe in RECIPES.items()} == {
        name: name for name in RECIPES
    }
    sources = {
        "cost": "https://github.com/hikvision-research/cost, Kinetics-400",
        "cost_paper": "CoST, Section 4.2",
        "p3d_ucf101": "P3D, Section 3.3",
        "p3d_sports1m": "P3D, Section 4.1",
        "tsn_ucf101": "https://github.com/yjxiong/tsn-pytorch, UCF101, RGB",
        "tsm": "https://github.com/mit-han-lab/temporal-shift-module, Kinetics-400",
        "gsm": "https://github.com/swathikirans/GSM, Something-Something v1",
    }
    assert {name: RECIPES[name].source for name in sources} == sources
    assert RECIPES["cstm"].source.startswith("none")


def test_a_recipe_is_called_by_its_name():
    assert named("gsm") is RECIPES["gsm"]
    mine = dataclasses.replace(RECIPES["gsm"], name="mine")
    assert named(mine) is mine
    with pytest.raises(ValueError) as error:
        named("mine")
    assert str(error.value) == (
        "There is no recipe 'mine'. Choose one of small_data, cost, cost_paper, "
        "p3d_ucf101, p3d_sports1m, tsn_ucf101, tsm, tsm_ucf101, gsm, cstm, videomae, "
        "videomae_sthv2, vjepa2_probe."
    )


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_recipes_work_with_few_steps(recipe):
    small = recipe.resized(epochs=2, batch_size=recipe.batch_size // 4)
    scale = 2 if recipe.name == "small_data" else 4
    assert small.learning_rate == pytest.approx(recipe.learning_rate / scale)
    assert small.steps(1) == 2
    assert rates(small.schedule(1), [0])[0] > 0
    fields = {f.name for f in dataclasses.fields(recipe)}
    assert recipe.inferred == ("all",) or set(recipe.inferred) <= fields


def test_another_batch_size_keeps_the_number_of_clips():
    small = RECIPES["p3d_ucf101"].resized(batch_size=32)
    assert (small.batch_size, small.iterations) == (32, 30_000)
    large = RECIPES["p3d_ucf101"].resized(batch_size=10**7)
    assert (large.iterations, large.epochs) == (1, None)
    longer = RECIPES["p3d_ucf101"].resized(epochs=3)
    assert (longer.epochs, longer.iterations, longer.learning_rate) == (3, None, 0.001)
    assert (longer.batch_size, longer.steps(7)) == (128, 21)
    both = RECIPES["cost"].resized(epochs=3, batch_size=32)
    assert (both.epochs, both.iterations) == (3, None)
    assert (both.batch_size, both.learning_rate) == (32, 0.005)
    assert RECIPES["cost"].resized() == RECIPES["cost"]


def test_a_training_has_at_least_min_steps():
    recipe = Recipe("mine", "me", 0.1, batch_size=8, epochs=4, min_steps=30, patience=3)
    longer = recipe.lengthened(3)
    assert (longer.epochs, longer.patience, longer.steps(3)) == (12, 9, 36)
    assert recipe.lengthened(8) == recipe.lengthened(9) == recipe
    endless = dataclasses.replace(recipe, patience=None).lengthened(7)
    assert (endless.epochs, endless.patience) == (8, None)
    assert recipe.resized(epochs=4).lengthened(1).epochs == 4
    assert recipe.resized(batch_size=4).lengthened(3).epochs == 12
    steps = dataclasses.replace(recipe, epochs=None, iterations=5)
    assert steps.lengthened(1) == steps


def test_recipes_of_papers_have_none_of_the_settings_for_small_data():
    for name in SOURCES:
        recipe = RECIPES[name]
        assert (recipe.algorithm, recipe.rate_power) == ("sgd", 1.0)
        assert (recipe.head_first, recipe.label_smoothing) == (0.0, 0.0)
        assert (recipe.freeze, recipe.patience) == ("none", None)
        assert recipe.min_steps == 0
        assert type(recipe.optimizer(10)) is SGD and recipe.optimizer(10).starts == {}
        loss = recipe.loss()
        assert type(loss) is keras.losses.SparseCategoricalCrossentropy
        assert loss.reduction == "mean_with_sample_weight"


def test_the_settings_of_small_data_reach_the_optimizer():
    recipe = dataclasses.replace(RECIPES["small_data"], head_first=0.25, head_rate=3.0)
    optimizer = recipe.resized(epochs=8).optimizer(5)
    assert type(optimizer) is AdamW
    assert optimizer.starts == {"^(?!fc/)": 10} and optimizer.rates == {"^fc/": 3.0}
    assert optimizer.grouped_decay == recipe.weight_decay
    assert optimizer.global_clipnorm == recipe.clipnorm
    assert recipe.resized(epochs=8).first_steps(5) == 10
    sgd = dataclasses.replace(recipe, algorithm="sgd").optimizer(1)
    assert type(sgd) is SGD and sgd.starts.keys() == {"^(?!fc/)"}


@pytest.mark.parametrize(("power", "expected"), [(1, 0.025), (0.5, 0.05), (0, 0.1)])
def test_the_rate_follows_the_batch_size_by_its_power(power, expected):
    recipe = Recipe("mine", "me", 0.1, batch_size=16, epochs=2, rate_power=power)
    assert recipe.resized(batch_size=4).learning_rate == pytest.approx(expected)


def test_batch_norms_with_statistics_are_frozen_and_new_ones_are_not():
    model = stzoo.cost_tiny(pretrained="motions", classes=3)
    norms = [v.path.rpartition("/")[0] for v in model.weights if "/gamma" in v.path]
    new = model.get_layer(norms[2])
    new.moving_mean.assign(np.zeros(new.moving_mean.shape))
    new.moving_variance.assign(np.ones(new.moving_variance.shape))
    RECIPES["small_data"].prepare(model)
    trained = {v.path for v in model.trainable_weights}
    assert {path for path in trained if "gamma" in path} == {f"{norms[2]}/gamma"}
    assert "conv1/kernel" in trained and "fc/kernel" in trained


def test_a_frozen_backbone_leaves_the_head():
    model = stzoo.cstm_tiny(width=8, depth=1)
    dataclasses.replace(RECIPES["cost"], freeze="backbone").prepare(model)
    assert {v.path for v in model.trainable_weights} == {"fc/kernel", "fc/bias"}


LENGTH = "Recipe mine: give the length in epochs or in iterations. Received: "
COUNT = "Recipe mine: {} must be an integer, at least 1. Received: {}."
SHARES = (
    "Recipe mine: milestones and warmup are fractions of the training, between 0 and "
    "1. Received: {}, {}."
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(epochs=3, iterations=3), LENGTH + "epochs=3, iterations=3."),
        (dict(), LENGTH + "epochs=None, iterations=None."),
        (dict(epochs=0), COUNT.format("epochs", 0)),
        (dict(epochs=2.0), COUNT.format("epochs", 2.0)),
        (dict(iterations=-1), COUNT.format("iterations", -1)),
        (dict(epochs=3, batch_size=0), COUNT.format("batch_size", 0)),
        (
            dict(epochs=3, algorithm="adam"),
            "Recipe mine: algorithm must be one of sgd, adamw. Received: 'adam'.",
        ),
        (
            dict(epochs=3, freeze="all"),
            "Recipe mine: freeze must be one of none, norms, backbone, encoder, or a "
            "number of stages. Received: 'all'.",
        ),
        (
            dict(epochs=3, label_smoothing=1),
            "Recipe mine: label_smoothing must be at least 0 and less than 1. "
            "Received: 1.",
        ),
        (
            dict(epochs=3, learning_rate=0.0),
            "Recipe mine: learning_rate must be positive, and weight_decay at least 0. "
            "Received: 0.0, 0.0001.",
        ),
        (dict(epochs=3, batch_size=True), COUNT.format("batch_size", True)),
        (
            dict(epochs=3, accumulate=3),
            "Recipe mine: accumulate must divide batch_size. Received: accumulate=3, "
            "batch_size=8.",
        ),
        (dict(epochs=3, accumulate=0), COUNT.format("accumulate", 0)),
        (
            dict(epochs=3, layer_decay=0),
            "Recipe mine: layer_decay must be above 0 and at most 1. Received: 0.",
        ),
        (
            dict(epochs=3, mixup=-0.1),
            "Recipe mine: mixup must be a number of at least 0. Received: -0.1.",
        ),
        (dict(epochs=3, repeats=0), COUNT.format("repeats", 0)),
        (
            dict(epochs=3, area=(0.5, 0.1)),
            "Recipe mine: area must be two shares of a frame, the smaller one first. "
            "Received: (0.5, 0.1).",
        ),
        (
            dict(epochs=3, randaugment=(2, 11)),
            "Recipe mine: randaugment must be a number of operations, at least 1, and "
            "a magnitude from 0 to 10. Received: (2, 11).",
        ),
        (dict(epochs=3, milestones=(20, 40)), SHARES.format((20, 40), 0.0)),
        (dict(epochs=3, milestones=(0,)), SHARES.format((0,), 0.0)),
        (dict(epochs=3, milestones=(0.5, 1)), SHARES.format((0.5, 1), 0.0)),
        (dict(epochs=3, warmup=1), SHARES.format((), 1)),
        (dict(epochs=3, warmup=1.5), SHARES.format((), 1.5)),
        (
            dict(epochs=3, milestones=(0.5,), warmup=0.1),
            "Recipe mine: only a cosine has a warm-up. Remove either milestones or "
            "warmup.",
        ),
    ],
)
def test_bad_settings_are_refused(wrong, message):
    with pytest.raises(ValueError) as error:
        Recipe("mine", "me", **{"learning_rate": 0.1, "batch_size": 8, **wrong})
    assert str(error.value) == message


def test_the_smallest_recipe():
    recipe = Recipe("mine", "me", learning_rate=0.1, batch_size=1, iterations=1)
    assert rates(recipe.schedule(5), [0]) == pytest.approx([0.1])
    assert Recipe("mine", "me", learning_rate=0.1, batch_size=1, epochs=1).steps(5) == 5


def test_a_cosine_without_warmup_starts_at_the_rate():
    schedule = Recipe("mine", "me", learning_rate=0.1, batch_size=1, epochs=2).schedule(
        4
    )
    expected = [0.05 * (1 + math.cos(math.pi * step / 8)) for step in range(9)]
    assert rates(schedule, range(9)) == pytest.approx(expected, abs=1e-8)


def test_a_warmup_leaves_a_step_for_the_cosine():
    """Nine tenths of two steps round to two."""
    recipe = Recipe(
        "mine", "me", learning_rate=0.1, batch_size=1, iterations=2, warmup=0.9
    )
    assert rates(recipe.schedule(9), (0, 1, 2)) == pytest.approx([0.01, 0.1, 0])


def test_batch_norms_of_other_recipes_are_trained():
    model = stzoo.c2d_tiny(input_shape=(2, 32, 32, 3), width=4, depths=(1, 1))
    RECIPES["cost"].prepare(model)
    assert model.get_layer("dropout").rate == 0.5
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) > 3 and all(norm.trainable for norm in norms)
    RECIPES["p3d_sports1m"].prepare(model)
    assert model.get_layer("dropout").rate == 0.1
    frozen = [norm.trainable for norm in norms]
    assert frozen == [True] + [False] * (len(norms) - 1)


def test_all_batch_norms_but_the_first_freeze():
    model = stzoo.gsm_tiny(width=8, depth=1)
    RECIPES["p3d_ucf101"].prepare(model)
    assert model.get_layer("dropout").rate == 0.9
    before = {v.path: numpy(v) for v in model.weights}
    model.compile(RECIPES["p3d_ucf101"].optimizer(10), "mse")
    clips = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:]))
    model.fit(clips.astype("uint8"), np.ones((2, 12)), verbose=0)
    learned = {v.path for v in model.weights if (numpy(v) != before[v.path]).any()}
    norms = {path for path in before if "bn/" in path}
    assert {path.partition("/")[0] for path in norms & learned} == {"conv1_7x7_s2_bn"}
    assert "gsm_inception_3a_1x1/bn/gamma" in norms
    assert "inception_3a_1x1/kernel" in learned and "fc/kernel" in learned


def test_batch_norms_inside_of_operators_freeze_too():
    """Of CSTM: that of its convolution, and that of the gate of its shift."""
    model = stzoo.cstm_tiny(width=8, depth=1)
    gammas = {v.path for v in model.weights if v.path.endswith("/gamma")}
    assert {path.partition("/")[2] for path in gammas} >= {"bn/gamma", "shift/bn/gamma"}
    RECIPES["p3d_ucf101"].prepare(model)
    learning = {v.path for v in model.trainable_weights}
    first = next(v.path for v in model.weights if v.path in gammas)
    assert learning & gammas == {first}


def test_the_optimizer_has_the_rates_and_the_decay_of_the_recipe():
    optimizer = RECIPES["tsm"].optimizer(10)
    assert optimizer.rates == {"^fc/": 5.0, "bias$": 2.0}
    assert float(numpy(optimizer.learning_rate)) == pytest.approx(0.02)
    other = dataclasses.replace(RECIPES["tsm"], momentum=0.3, weight_decay=0.2)
    assert (other.optimizer(1).momentum, other.optimizer(1).grouped_decay) == (0.3, 0.2)
    late = other.optimizer(1)
    late.iterations.assign(45)
    assert float(numpy(late.learning_rate)) == pytest.approx(0.0002)
    assert (optimizer.momentum, optimizer.grouped_decay) == (0.9, 1e-4)
    assert optimizer.global_clipnorm == 20
    assert RECIPES["cost"].optimizer(10).rates == {}


def test_mirrored_motions_have_the_label_of_the_mirror_image():
    """Mirroring swaps left and right, and keeps up and down."""
    clip = stzoo.cost_tiny(width=4, depths=(1, 1)).stzoo.clip
    index = motions.CLASSES.index
    mirrored = {
        "left to right": "right to left",
        "turning clockwise": "turning counter-clockwise",
        "rising": "rising",
    }
    for name in ("gsm", "cost"):
        augment = RECIPES[name].augment(clip, motions.CLASSES)
        plain = dataclasses.replace(augment, flip=False)
        for motion, other in mirrored.items():
            frames, *_ = motions.render(3, motion)
            seen = set()
            for seed in range(8):
                one, label = training_clip(
                    frames, clip, np.random.default_rng(seed), augment, index(motion)
                )
                straight, _ = training_clip(
                    frames, clip, np.random.default_rng(seed), plain, index(motion)
                )
                is_mirrored = not np.array_equal(one, straight)
                assert label == index(other if is_mirrored else motion)
                seen.add(is_mirrored)
            assert seen == {True, False}


def test_short_sides_follow_the_clip():
    clip = stzoo.cost_tiny(width=4, depths=(1, 1)).stzoo.clip
    assert RECIPES["p3d_ucf101"].augment(clip).short_sides == (72, 72)
    assert RECIPES["gsm"].augment(clip).scales == (1, 0.875, 0.75, 0.66)
    assert RECIPES["cost"].augment(clip).short_sides is None  # 1 to 5 / 4
    wide = dataclasses.replace(RECIPES["cost"], short_sides=(1, 1.25))
    assert wide.augment(clip).short_sides == (72, 90)
    paired = RECIPES["cost"].augment(clip, motions.CLASSES)
    assert (paired.flip, paired.jitter, paired.scales) == (True, 0, ())
    assert paired.pairs == mirror_pairs(motions.CLASSES) != {}
    straight = dataclasses.replace(RECIPES["cost"], flip=False)
    augment = straight.augment(clip, motions.CLASSES)
    assert (augment.flip, augment.pairs) == (False, None)


def test_given_pairs_that_names_do_not_show():
    given = [("catching", "throwing")]
    classes = ("catching", "throwing", "turning left", "turning right")
    augment = RECIPES["cost"].augment(ClipConfig(), classes, given)
    assert augment.pairs == {0: 1, 1: 0, 2: 3, 3: 2}
    straight = dataclasses.replace(RECIPES["cost"], flip=False)
    with pytest.raises(ValueError) as error:
        straight.augment(ClipConfig(), classes, given)
    assert str(error.value) == (
        "Recipe cost: with flip=False no clip is mirrored, so pairs of classes have no "
        "effect. Remove one of them. Received: [('catching', 'throwing')]."
    )


def test_views_of_tsm_and_gsm_keep_the_direction_of_a_motion():
    """Each of the two clips with three crops still shows the motion of the label."""
    clip = stzoo.cstm_tiny(width=8, depth=1).stzoo.clip
    width = 2 * clip.height
    video = np.zeros((40, clip.short_side, width, 3), np.uint8)
    for time, frame in enumerate(video):
        frame[:, time * width // 40] = 255  # a line from left to right
    views = clip_views(video, clip, RECIPES["cstm"].views)
    assert views.shape == (6, *clip.shape)
    for view in views:
        places = [frame.max((0, 2)).argmax() for frame in view if frame.max() > 100]
        assert len(places) > 2 and (np.diff(places) > 0).all()
    assert len({view.tobytes() for view in views}) == 6
