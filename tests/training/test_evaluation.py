import keras
import numpy as np
import pytest
from harness import close, numpy

import stzoo
from stzoo.data import motions
from stzoo.data.transforms import clip_views
from stzoo.training import evaluation


@pytest.fixture(scope="module")
def model():
    return stzoo.cost_tiny(pretrained="motions")


def test_predict_reads_a_file_as_its_frames(model, tmp_path):
    frames, motion, _ = motions.render(99)
    motions.save(tmp_path / "video.mp4", frames, quantiser=0)
    from_file = stzoo.predict(model, tmp_path / "video.mp4", top=12)
    from_frames = dict(stzoo.predict(model, frames, top=12))
    assert [label for label, _ in from_file][0] == motion
    assert {label for label, _ in from_file} == set(motions.CLASSES)
    probabilities = [probability for _, probability in from_file]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    for label, probability in from_file:
        assert probability == pytest.approx(from_frames[label], abs=0.05)


def test_views_are_averaged_as_probabilities(model):
    frames, _, _ = motions.render(7)
    clips = clip_views(frames, model.stzoo.clip, "4x3")
    logits = model.predict_on_batch(clips)
    expected = numpy(keras.ops.softmax(logits)).mean(0)
    answer = dict(stzoo.predict(model, frames, top=12, views="4x3"))
    close(np.array([answer[label] for label in motions.CLASSES]), expected)


def test_batches_make_no_difference(model, monkeypatch):
    clips = np.random.default_rng(0).integers(0, 256, (5, 8, 64, 64, 3)).astype("uint8")
    whole = evaluation.classify(model, clips)
    monkeypatch.setattr(evaluation, "BATCH", 2)
    close(evaluation.classify(model, clips), whole)


def test_a_model_without_labels_answers_with_indices():
    model = stzoo.c2d_tiny(classes=3, width=8, depths=(1, 1, 1, 1))
    answer = stzoo.predict(model, np.zeros((9, 80, 80, 3), "uint8"))
    assert {label for label, _ in answer} == {0, 1, 2}


def test_a_model_from_elsewhere_is_refused():
    with pytest.raises(ValueError, match="Build or load it with stzoo"):
        stzoo.predict(keras.Sequential(), "video.mp4")
