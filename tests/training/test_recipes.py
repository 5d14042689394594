import dataclasses
import math

import numpy as np
import pytest
from harness import numpy

import stzoo
from stzoo.data import motions
from stzoo.data.transforms import clip_views, training_clip
from stzoo.training.recipes import RECIPES, Recipe


def rates(schedule, steps):
    return [float(numpy(schedule(step))) for step in steps]


def test_steps_divide_by_ten_where_the_papers_say():
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
    """GSM: from a tenth to the rate in 10 epochs, then half a cosine in 50."""
    schedule = RECIPES["gsm"].schedule(4)
    expected = [
        0.01 * (0.1 + 0.9 * step / 40)
        if step < 40
        else 0.005 * (1 + math.cos(math.pi * (step - 40) / 200))
        for step in range(241)
    ]
    assert rates(schedule, range(241)) == pytest.approx(expected, abs=1e-8)
    assert expected[0] == pytest.approx(1e-3) and expected[240] == 0


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_recipes_shrink_to_few_steps(recipe):
    small = recipe.resized(epochs=2, batch=recipe.batch // 4)
    assert small.rate == pytest.approx(recipe.rate / 4)
    assert small.steps(1) == 2
    assert rates(small.schedule(1), [0])[0] > 0
    fields = {f.name for f in dataclasses.fields(recipe)}
    assert recipe.inferred == ("all",) or set(recipe.inferred) <= fields


def test_another_batch_sees_as_many_clips():
    small = RECIPES["p3d_ucf101"].resized(batch=32)
    assert (small.batch, small.iterations) == (32, 30_000)
    assert RECIPES["cost"].resized() == RECIPES["cost"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(epochs=3, iterations=3), "in epochs or in iterations"),
        (dict(), "in epochs or in iterations"),
        (dict(epochs=0), "epochs must be a whole number from 1"),
        (dict(epochs=3, drops=(20, 40)), "shares of the training"),
        (dict(epochs=3, drops=(0.5,), warmup=0.1), "only a cosine"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Recipe("mine", "me", rate=0.1, batch=8, **wrong)


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


def test_the_optimizer_has_the_rates_and_the_decay_of_the_recipe():
    optimizer = RECIPES["tsm"].optimizer(10)
    assert optimizer.rates == {"^fc/": 5.0, "bias$": 2.0}
    assert (optimizer.momentum, optimizer.decay) == (0.9, 1e-4)
    assert optimizer.global_clipnorm == 20
    assert RECIPES["cost"].optimizer(10).rates == {}


def test_mirrored_motions_have_the_label_of_what_is_seen():
    """In a mirror, what moves to the right moves to the left; up stays up."""
    clip = stzoo.cost_tiny(width=4, depths=(1, 1, 1, 1)).stzoo.clip
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
    clip = stzoo.cost_tiny(width=4, depths=(1, 1, 1, 1)).stzoo.clip
    assert RECIPES["p3d_ucf101"].augment(clip).short_sides == (72, 72)
    assert RECIPES["gsm"].augment(clip).scales == (1, 0.875, 0.75, 0.66)
    assert RECIPES["cost"].augment(clip).short_sides is None  # 1 to 5 / 4 of it


def test_views_of_the_shifting_line_keep_the_direction_of_a_motion():
    """Two clips and three crops: each of the six still shows what the label says."""
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
