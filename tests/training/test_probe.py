import json

import numpy as np
import pytest
from harness import numpy
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import stzoo
from stzoo.data.datasets import read
from stzoo.inference.predict import softmax
from stzoo.training.probe import Probe, features_layer, fit_linear, probe, wilson


def blobs(classes, each=20, width=5, noise=1.0):
    rng = np.random.default_rng(classes)
    labels = np.arange(classes * each) % classes
    centres = 3 * rng.normal(size=(classes, width))
    features = centres[labels] + noise * rng.normal(size=(len(labels), width))
    return (100 + 7 * features).astype("float32"), labels


@pytest.mark.parametrize("classes", [2, 4])
def test_the_classifier_is_a_logistic_regression(classes):
    features, labels = blobs(classes)
    fitted = fit_linear(features, labels, classes, np.arange(len(labels)))
    known = make_pipeline(
        StandardScaler(), LogisticRegression(C=fitted.strength, max_iter=2000)
    ).fit(features, labels)
    shares = softmax(fitted.logits(features))
    np.testing.assert_allclose(shares, known.predict_proba(features), atol=1e-4)


def test_the_accuracy_is_of_videos_that_were_not_fitted():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(60, 200)), np.arange(60) % 2  # pure noise
    fitted = fit_linear(features.astype("f4"), labels, 2, np.arange(60))
    assert fitted.accuracy < 0.7 and fitted.folds == 5
    assert fitted.accuracy == np.mean(fitted.answers == labels)
    features, labels = blobs(3, noise=2.5)
    fitted = fit_linear(features, labels, 3, np.arange(60))
    known = make_pipeline(StandardScaler(), LogisticRegression(C=fitted.strength))
    expected = np.mean(cross_val_predict(known, features, labels, cv=5) == labels)
    assert fitted.accuracy == pytest.approx(expected, abs=0.08)


def test_a_group_is_not_on_both_sides_of_the_cross_validation():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(10), 6)
    labels = people % 2
    features = rng.normal(size=(10, 50))[people] + 0.01 * rng.normal(size=(60, 50))
    cut = fit_linear(features.astype("f4"), labels, 2, np.arange(60))
    whole = fit_linear(features.astype("f4"), labels, 2, people)
    assert cut.accuracy == 1.0  # knows each person
    assert whole.accuracy < 0.8


def test_the_strength_fits_the_noise():
    clear, labels = blobs(2, noise=0.1)
    noisy, _ = blobs(2, noise=6.0)
    strengths = [
        fit_linear(x, labels, 2, np.arange(40)).strength for x in (clear, noisy)
    ]
    assert strengths[0] > strengths[1]


def test_classes_with_few_videos_or_none():
    features, labels = blobs(3, each=4)
    labels = np.where(np.arange(12) == 0, 3, labels)  # one video of class 3, none of 4
    fitted = fit_linear(features, labels, 5, np.arange(12))
    assert fitted.folds == 2
    shares = softmax(fitted.logits(features))
    assert np.all(shares[:, 4] == 0) and shares[0, 3] > 0
    assert np.isfinite(fitted.kernel).all()


def test_the_confidence_interval_of_wilson():
    # Newcombe (1998), Table I: 81 of 263, 15 of 148, 0 of 20.
    for right, count, expected in (
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
    ):
        assert wilson(right / count, count) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    "interval, advice",
    [
        ((0.96, 0.99), "At most 4 of 100 videos are wrong"),
        ((0.30, 0.37), "hardly better than guessing"),
        ((0.70, 0.90), "Between 10 and 30 of 100 videos are wrong"),
    ],
)
def test_advice(interval, advice):
    found = Probe(
        "", 9, [], 0.5, interval, baseline=1 / 3, strength=1, folds=5, classes=[]
    )
    assert advice in found.advice


def build(classes=2):
    return stzoo.cost_tiny(classes, pretrained="motions")


def test_a_model_with_a_new_head_comes_out(motion_folder, tmp_path):
    train = read(motion_folder)
    found = probe(build(), train, tmp_path, train, views="1x1")
    model = stzoo.load(tmp_path)
    assert model.stzoo.labels == ("rising", "shaking")
    assert found.videos == 6 and found.failed == []
    assert found.baseline == 0.5 and found.folds == 3
    assert found.accuracy == 1.0 == found.validation
    assert found.interval == pytest.approx(wilson(1.0, 6))
    assert [
        (row["label"], row["videos"], row["accuracy"]) for row in found.classes
    ] == [
        ("rising", 3, 1.0),
        ("shaking", 3, 1.0),
    ]
    written = json.loads((tmp_path / "probe.json").read_text())
    assert written["strength"] == found.strength and written["model"] == found.model
    assert found.model == "cost_tiny.motions" == model.stzoo.base_model
    body = {v.path: numpy(v) for v in build().weights if not v.path.startswith("fc")}
    for variable in model.weights:
        if variable.path in body:
            np.testing.assert_allclose(numpy(variable), body[variable.path])
    for path, label in zip(train.paths, train.labels, strict=True):
        assert stzoo.predict(model, path)[0][0] == train.classes[label]


def test_an_interrupted_probe_resumes_with_another_random_head(motion_folder, tmp_path):
    train, seen = read(motion_folder), []

    def progress(parts):
        seen.append(len(parts))
        return iter(parts)

    first = probe(build(), train, tmp_path, views="1x1", progress=progress)
    again = probe(build(), train, tmp_path, views="1x1", progress=progress)
    assert seen == [1, 0] and first == again


def test_videos_that_cannot_be_decoded_are_left_out(one_broken, tmp_path):
    found = probe(build(), one_broken, tmp_path, views="1x1")
    assert found.videos == 6 and len(found.failed) == 1
    assert "broken.mp4" in found.failed[0]["error"]


@pytest.mark.slow
def test_every_family_has_features_before_its_head():
    for name in stzoo.list_models("*_tiny"):
        model = stzoo.create(name)
        features = model.get_layer(features_layer(model)).output
        assert features is model.get_layer("fc").input


def test_wrong_data(motion_folder, tmp_path):
    train = read(motion_folder)
    with pytest.raises(ValueError, match="has 3. Build it with classes=2"):
        probe(build(3), train, tmp_path)
    only = type(train)(train.paths[:3], (0, 0, 0), train.classes)
    with pytest.raises(ValueError, match="at least two classes"):
        probe(build(), only, tmp_path)
    with pytest.raises(ValueError, match="must have the classes"):
        probe(
            build(), train, tmp_path, type(train)(train.paths, train.labels, ("x", "y"))
        )
    assert not list(tmp_path.iterdir())
