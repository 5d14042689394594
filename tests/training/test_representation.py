"""The three tasks of P3D, on motions."""

import math

import numpy as np
import pytest
from harness import close

import stzoo
from stzoo.data import motions
from stzoo.data.views import clip_views
from stzoo.inference.predict import classify
from stzoo.training import representation

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    return stzoo.cost_tiny(pretrained="motions")


@pytest.fixture(scope="module")
def videos():
    """Videos with each movement equally often, and the indices of their movements."""
    labels = np.tile(np.arange(12), 12)
    frames = [
        motions.render([5, number], motions.CLASSES[label])[0]
        for number, label in enumerate(labels)
    ]
    return frames, labels


@pytest.fixture(scope="module")
def described(model, videos):
    return representation.features(model, videos[0], clips=2)


def test_scores_are_means_over_clips(model, videos, tmp_path):
    video, clip = videos[0][0], model.stzoo.clip
    uniform = representation.scores(model, video, clips=3)
    answer = dict(stzoo.predict(model, video, top=12, views="3x1"))
    close(uniform, np.array([answer[label] for label in motions.CLASSES]))
    rng = np.random.default_rng(1)
    drawn = clip_views(video, clip, "4x1", np.random.default_rng(1))
    assert len({clip.tobytes() for clip in drawn}) > 1
    expected = classify(model, drawn).mean(0)
    close(representation.scores(model, video, clips=4, rng=rng), expected)
    motions.save(tmp_path / "video.mp4", video)
    from_file = representation.scores(model, tmp_path / "video.mp4", clips=2)
    assert motions.CLASSES[from_file.argmax()] == motions.CLASSES[videos[1][0]]


def test_features_are_means_over_clips(model, videos, described):
    clips = clip_views(videos[0][7], model.stzoo.clip, "2x1")
    head = model.get_layer("fc")
    logits = model.predict_on_batch(clips)
    close(head(described[7:8])[0], np.asarray(logits).mean(0))
    maps = representation.features(model, videos[0][7:8], 2, layer="layer4_1_relu")
    close(maps[0], described[7])


def test_a_linear_svm_distinguishes_movements(described, videos):
    labels = videos[1]
    svm = representation.linear_svm(described[:96], labels[:96])
    assert svm.score(described[96:], labels[96:]) > 0.9
    assert svm.score(described[96:], np.roll(labels[96:], 1)) < 0.2


def test_similarities_match_their_equations():
    x, y = RNG.uniform(size=(2, 5)) * (RNG.uniform(size=(2, 5)) > 0.3)
    found = representation.similarities(x, y)
    a = [value / math.sqrt(sum(v * v for v in x)) for value in x]
    b = [value / math.sqrt(sum(v * v for v in y)) for value in y]
    pairs = list(zip(a, b, strict=True))
    both = [(p, q) for p, q in pairs if p + q > 0]
    logs = [(p, q, math.log((p + 1e-12) / (q + 1e-12))) for p, q in pairs]
    expected = [
        sum(p * q for p, q in pairs),
        math.sqrt(sum(p * q for p, q in pairs)),
        math.sqrt(sum(math.sqrt(p) * math.sqrt(q) for p, q in pairs)),
        math.sqrt(sum(p * q / (p + q) for p, q in both)),
        sum(p * q for p, q in pairs) / math.hypot(*a) / math.hypot(*b),
        math.sqrt(sum((p - q) ** 2 / (p + q) for p, q in both)),
        sum(abs(p - q) for p, q in pairs),
        math.sqrt(sum((math.sqrt(p) - math.sqrt(q)) ** 2 for p, q in pairs)),
        sum(p * log for p, _, log in logs),
        sum(-q * log for _, q, log in logs),
        sum(min(pair) for pair in pairs) / (sum(a) + sum(b)),
        sum(min(pair) for pair in pairs) / (sum(a) * sum(b)),
    ]
    close(found, np.array(expected))
    alike = representation.similarities(x, x)
    close(alike[[0, 1, 4]], np.ones(3))
    assert np.abs(alike[[5, 6, 7, 8, 9]]).max() < 1e-12


def test_pairs_of_videos_show_the_same_action_or_not(described, videos):
    labels = videos[1]
    first, second = RNG.permutation(144)[:72], RNG.permutation(144)[:72]
    first = np.tile(first, 2)
    partner = [RNG.choice(np.flatnonzero(labels == labels[i])) for i in first[:72]]
    second = np.concatenate([second, partner])
    same = labels[first] == labels[second]
    found = representation.action_similarity(described[first], described[second], same)
    assert found["auc"] > 0.9 and found["accuracy"] > 0.85
    lists = [described[first]] * 2, [described[second]] * 2
    folds = np.arange(144) % 4
    assert representation.action_similarity(*lists, same, folds)["auc"] > 0.9
    noise = np.abs(RNG.normal(size=(2, 144, 32)))
    assert representation.action_similarity(*noise, same)["auc"] < 0.65


def test_negative_features_are_refused():
    with pytest.raises(ValueError, match="Received: a feature of -0.5"):
        representation.similarities(np.array([[-0.5, 1]]), np.array([[1, 1]]))
