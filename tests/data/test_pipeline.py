"""Batches of rendered motions: their clips, order and sharding."""

import logging
from dataclasses import fields

import keras
import numpy as np
import pytest

import stzoo
from stzoo.data import motions
from stzoo.data.datasets import Videos, read
from stzoo.data.mirroring import mirror_pairs
from stzoo.data.mixing import mix
from stzoo.data.pipeline import Order, steps, with_layer
from stzoo.data.pipeline import clips as clips_of
from stzoo.data.reading import Reading
from stzoo.data.transforms import Augment
from stzoo.data.video import Video
from stzoo.data.views import clip_views, training_clip
from stzoo.weights.config import ClipConfig

CLIP = ClipConfig(frames=4, stride=2, height=32, width=32, short_side=40)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("motions")
    labels = motions.write(folder, 10, seed=1)
    return read(labels, label="motion", classes=motions.CLASSES)


def clips(*args, **kwargs):
    """Returns the pipeline for plain arguments."""
    order = {f.name: kwargs.pop(f.name) for f in fields(Order) if f.name in kwargs}
    reading = {f.name: kwargs.pop(f.name) for f in fields(Reading) if f.name in kwargs}
    kwargs |= {"order": Order(**order), "reading": Reading(**reading)}
    return clips_of(*args, **kwargs)


def take(count, *args, **kwargs):
    iterator = iter(clips(*args, **kwargs))
    return [next(iterator) for _ in range(count)]


def same(one, other):
    assert len(one) == len(other)
    for batch, expected in zip(one, other, strict=True):
        for part, wanted in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(part, wanted)


def test_training_batches_are_random_clips_of_all_videos(videos):
    augment = Augment(pairs=mirror_pairs(videos.classes))  # also the default
    found = take(4, videos, CLIP, 5, train=True, seed=3)
    for epoch, batches in enumerate((found[:2], found[2:])):
        order = np.random.default_rng((3, epoch)).permutation(10).reshape(2, 5)
        for (views, labels), rows in zip(batches, order, strict=True):
            assert views.dtype == np.uint8 and views.shape == (5, 4, 32, 32, 3)
            assert labels.dtype == np.int32
            for view, label, row in zip(views, labels, rows, strict=True):
                with Video(videos.paths[row]) as video:
                    rng = np.random.default_rng((3, epoch, row))
                    expected = training_clip(
                        video, CLIP, rng, augment, videos.labels[row]
                    )
                np.testing.assert_array_equal(view, expected[0])
                assert label == expected[1]
    plain = take(4, videos, CLIP, 5, train=True, seed=3, augment=Augment(flip=False))
    labels = [sorted(np.concatenate([b[1] for b in plain[i : i + 2]])) for i in (0, 2)]
    assert labels[0] == labels[1] == sorted(videos.labels)
    together = zip(found, plain, strict=True)
    assert any((one[1] != other[1]).any() for one, other in together)


def test_evaluation_is_the_middle_of_each_video_in_order(videos):
    found = list(clips(videos, CLIP, 4))
    assert len(found) == steps(videos, 4, drop_remainder=False) == 3
    views, labels, weights = map(np.concatenate, zip(*found, strict=True))
    assert tuple(labels[:10]) == videos.labels
    assert weights.tolist() == [1.0] * 10 + [0.0] * 2
    assert not views[10:].any() and not labels[10:].any()
    for path, view in zip(videos.paths, views, strict=False):
        with Video(path) as video:
            np.testing.assert_array_equal(view, clip_views(video, CLIP)[0])
    dropped = list(clips(videos, CLIP, 4, drop_remainder=True))
    assert len(dropped) == steps(videos, 4) == 2
    same(dropped, [batch[:2] for batch in found[:2]])


def test_threads_change_nothing(videos):
    expected = take(4, videos, CLIP, 5, train=True, num_workers=0)
    for workers in (1, 3):
        same(take(4, videos, CLIP, 5, train=True, num_workers=workers), expected)


def test_a_run_can_resume_in_the_middle_of_an_epoch(videos):
    dataset = clips(videos, CLIP, 3, train=True)
    iterator = iter(dataset)
    for _ in range(5):  # of 3 batches an epoch
        next(iterator)
    state = iterator.get_state()
    expected = [next(iterator) for _ in range(3)]
    again = iter(dataset)
    again.set_state(state)
    same([next(again) for _ in range(3)], expected)
    same(take(3, videos, CLIP, 3, train=True, start=5), expected)
    assert len(list(clips(videos, CLIP, 4, start=2))) == 1


@pytest.mark.parametrize("train", [True, False])
def test_processes_share_the_batches_of_one(videos, train):
    whole = take(3, videos, CLIP, 4, train=train, drop_remainder=False)
    halves = [
        take(3, videos, CLIP, 2, train=train, drop_remainder=False, shard=(index, 2))
        for index in (0, 1)
    ]
    together = [
        tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
        for batches in zip(*halves, strict=True)
    ]
    same(together, whole)
    assert steps(videos, 2, False, (0, 2)) == steps(videos, 4, False)


def test_mirrored_clips_have_the_label_of_their_mirror_image(videos):
    pairs = mirror_pairs(videos.classes)
    augment = Augment((40, 40), pairs=pairs)
    plain = Augment((40, 40), flip=False)
    flips = 0
    for epoch in range(4):
        for row, path in enumerate(videos.paths):
            label = videos.labels[row]
            with Video(path) as video:
                rng = np.random.default_rng((0, epoch, row))
                view, new = training_clip(video, CLIP, rng, augment, label)
                rng = np.random.default_rng((0, epoch, row))
                upright, _ = training_clip(video, CLIP, rng, plain, label)
            mirrored = (view[:, :, ::-1] == upright).all()
            flips += mirrored
            assert mirrored or (view == upright).all()
            assert new == (pairs.get(label, label) if mirrored else label)
    assert 10 < flips < 30
    (batch,) = take(1, videos, CLIP, 10, train=True, augment=augment)
    (other,) = take(1, videos, CLIP, 10, train=True, augment=plain)
    changed = batch[1] != other[1]
    assert changed.any()
    np.testing.assert_array_equal(batch[0][changed], other[0][changed][:, :, :, ::-1])


def test_videos_without_labels(videos):
    found = list(clips(Videos(videos.paths), CLIP, 4))
    assert [views.shape for views in found] == [(4, 4, 32, 32, 3)] * 3
    same([found], [[batch[0] for batch in clips(videos, CLIP, 4)]])


def test_whole_frames(videos, tmp_path):
    whole = ClipConfig(frames=2, stride=1, height=None, width=None, short_side=40)
    assert take(1, videos, whole, 4, drop_remainder=True)[0][0].shape == (
        4,
        2,
        40,
        40,
        3,
    )
    motions.save(tmp_path / "wide.mp4", motions.render(1)[0][:, :60])
    paths = (videos.paths[0], str(tmp_path / "wide.mp4"))
    assert [b[0].shape[3] for b in clips(Videos(paths, (0, 0)), whole, 1)] == [40, 53]
    with pytest.raises(ValueError, match="must have the same shape.*batch_size=1"):
        take(1, Videos(paths, (0, 0)), whole, 2)


def test_videos_that_cannot_be_decoded(videos, tmp_path, caplog):
    (tmp_path / "broken.mp4").write_bytes(b"no video at all\n" * 99)
    paths = (videos.paths[0], str(tmp_path / "broken.mp4"), *videos.paths[2:])
    broken = Videos(paths, videos.labels, videos.classes)
    with pytest.raises(ValueError, match="broken.mp4 cannot be read"):
        list(clips(broken, CLIP, 5))
    with caplog.at_level(logging.WARNING, "stzoo"):
        found = list(clips(broken, CLIP, 5, skip=True))
    assert "broken.mp4 cannot be read" in caplog.text
    expected = list(clips(videos, CLIP, 5))
    assert found[0][2].tolist() == [1, 0, 1, 1, 1] and not found[0][0][1].any()
    same(found[1:], expected[1:])
    upright = Augment(flip=False)
    found = take(2, broken, CLIP, 5, train=True, skip=True, augment=upright)
    labels = sorted(np.concatenate([labels for _, labels in found]))
    assert labels == sorted([*videos.labels[:1], *videos.labels[2:], videos.labels[2]])
    with pytest.raises(ValueError, match="No video can be decoded"):
        take(1, Videos(paths[1:2], (0,)), CLIP, 1, train=True, skip=True)


def test_too_few_videos(videos):
    with pytest.raises(ValueError, match="10 videos do not fill a batch of 16"):
        clips(videos, CLIP, 8, train=True, shard=(0, 2))


def test_keras_fits_evaluates_and_predicts(videos):
    """No clip is dropped, and padding is ignored."""
    model = stzoo.cost_tiny(classes=12, input_shape=CLIP.shape, width=4, depths=(1, 1))
    model.compile(
        keras.optimizers.SGD(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
    )
    data = clips(videos, CLIP, 4)
    count = steps(videos, 4, False)
    logits = model.predict(data, steps=count, verbose=0)[:10]
    accuracy = model.evaluate(data, steps=count, verbose=0)[1]
    assert accuracy == pytest.approx(np.mean(logits.argmax(-1) == videos.labels))
    history = model.fit(
        clips(videos, CLIP, 5, train=True),
        steps_per_epoch=steps(videos, 5),
        epochs=2,
        shuffle=False,
        verbose=0,
    )
    assert len(history.history["loss"]) == 2


def test_mixup_is_the_same_in_all_frames(videos):
    dataset = clips(videos, CLIP, 5, train=True)
    mixed = with_layer(dataset, keras.layers.MixUp(0.5, seed=1), 12)
    plain, found = iter(dataset), iter(mixed)
    state, blended = None, 0
    for _ in range(2):
        (before, labels), (after, probabilities) = next(plain), next(found)
        assert after.dtype == np.uint8 and after.shape == before.shape
        assert probabilities.sum(-1) == pytest.approx(np.ones(5))
        share = probabilities[np.arange(5), labels]
        assert (share < 1).any()
        for view, row, own, label in zip(
            after, probabilities, share, labels, strict=True
        ):
            (others,) = np.nonzero(np.where(np.arange(12) == label, 0, row))
            if len(others) == 1:
                other = before[labels.tolist().index(others[0])]
                own_view = before[labels.tolist().index(label)]
                blend = own * own_view + (1 - own) * other
                assert abs(view - blend).max() <= 0.51
                blended += 1
        state = state or found.get_state()
    assert blended > 4
    again = iter(mixed)
    again.set_state(state)
    same([next(again)], [(after, probabilities)])
    begun = with_layer(
        clips(videos, CLIP, 5, train=True, start=1),
        keras.layers.MixUp(0.5, seed=1),
        12,
        1,
    )
    same([next(iter(begun))], [(after, probabilities)])


# Keras 3.15 with PyTorch 2.13, in RandAugment
@pytest.mark.filterwarnings("ignore:Tensor.T is deprecated:UserWarning")
@pytest.mark.parametrize("name", ["CutMix", "RandAugment"])
def test_a_still_clip_stays_still_after_augmentation(tmp_path, name):
    for number in range(3):
        frames = motions.render(number)[0]
        motions.save(tmp_path / f"{number}.mp4", frames[:1].repeat(9, 0), quantiser=0)
    still = Videos(read(tmp_path).paths, (0, 1, 2))
    dataset = clips(still, CLIP, 3)
    options = {"value_range": (0, 255)} if name == "RandAugment" else {}
    layer = getattr(keras.layers, name)(seed=3, **options)
    ((before, _, _),), ((after, probabilities, weights),) = (
        list(dataset),
        list(with_layer(dataset, layer, 3)),
    )
    assert (before == before[:, :1]).all()
    assert (after == after[:, :1]).all() and (after != before).any()
    assert probabilities.shape == (3, 3) and weights.tolist() == [1, 1, 1]


def test_a_layer_without_a_seed(videos):
    with pytest.raises(ValueError, match="needs a seed"):
        with_layer(clips(videos, CLIP, 5), keras.layers.MixUp(), 12)


MIXED = Augment(flip=False, mixup=0.8, cutmix=1.0)


def test_mixed_batches_depend_only_on_the_seed_and_the_step(videos):
    plain = take(4, videos, CLIP, 5, train=True, seed=3, augment=Augment(flip=False))
    found = take(4, videos, CLIP, 5, train=True, seed=3, augment=MIXED)
    for step, ((views, labels), batch) in enumerate(zip(plain, found, strict=True)):
        rng = np.random.default_rng((3, step, 0, 0, 1))
        expected = mix(views, np.eye(12)[labels], MIXED, rng)
        same([batch], [expected])
        assert batch[0].dtype == np.uint8 and batch[1].dtype == np.float32
    again = take(2, videos, CLIP, 5, train=True, seed=3, augment=MIXED, start=2)
    same(again, found[2:])
    for workers in (0, 3):
        how = dict(train=True, seed=3, augment=MIXED, num_workers=workers)
        same(take(4, videos, CLIP, 5, **how), found)
    dataset = clips(videos, CLIP, 5, train=True, seed=3, augment=MIXED)
    iterator = iter(dataset)
    next(iterator)
    state = iterator.get_state()
    again = iter(dataset)
    again.set_state(state)
    same([next(again) for _ in range(3)], found[1:])
    other = take(1, videos, CLIP, 5, train=True, seed=4, augment=MIXED)
    assert (other[0][1] != found[0][1]).any()


def test_evaluation_is_never_mixed(videos):
    same(list(clips(videos, CLIP, 4, augment=MIXED)), list(clips(videos, CLIP, 4)))


def test_repeated_augmentation_draws_other_clips_of_the_same_videos(videos):
    twice = Augment(flip=False, repeats=2)
    found = take(5, videos, CLIP, 4, train=True, seed=3, augment=twice)
    assert steps(videos, 4, repeats=2) == 5
    order = np.random.default_rng((3, 0)).permutation(10)
    first = np.concatenate([labels[::2] for _, labels in found])
    assert first.tolist() == [videos.labels[row] for row in order]
    differ = 0
    for views, labels in found:
        assert (labels[::2] == labels[1::2]).all()
        differ += sum(
            (a != b).any() for a, b in zip(views[::2], views[1::2], strict=True)
        )
    assert differ == 10
    once = take(1, videos, CLIP, 10, train=True, seed=3, augment=Augment(flip=False))
    views = np.concatenate([views[::2] for views, _ in found])
    np.testing.assert_array_equal(views, once[0][0])  # the first draw is as before
    halves = [
        take(
            *(5, videos, CLIP, 2),
            **dict(train=True, seed=3, augment=twice, shard=(index, 2)),
        )
        for index in (0, 1)
    ]
    together = [
        tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
        for batches in zip(*halves, strict=True)
    ]
    same(together, found)


@pytest.mark.parametrize(
    ("augment", "size", "message"),
    [
        (Augment(mixup=0.5), 1, "mixup and cutmix need batches of at least 2 clips."),
        (Augment(repeats=2), 5, "A batch of 5 clips cannot have each video 2 times."),
    ],
)
def test_an_augmentation_that_does_not_fit_is_refused(videos, augment, size, message):
    with pytest.raises(ValueError, match=message):
        clips(videos, CLIP, size, train=True, augment=augment)
    with pytest.raises(ValueError, match="need videos with classes"):
        unlabelled = Videos(videos.paths)
        clips(unlabelled, CLIP, 2, train=True, augment=Augment(cutmix=1.0))
    flow = ClipConfig(
        frames=4, height=32, width=32, short_side=40, mean=(0.5,) * 2, std=(1.0,) * 2
    )
    with pytest.raises(ValueError, match="randaugment is for RGB"):
        clips(videos, flow, 5, train=True, augment=Augment(randaugment=(2, 5)))
