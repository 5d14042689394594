import csv
import json

import keras
import numpy as np
import pytest
from harness import close, numpy
from PIL import Image

import stzoo
from stzoo.data import motions
from stzoo.data.datasets import Videos
from stzoo.data.transforms import clip_views
from stzoo.inference import evaluate as evaluation
from stzoo.inference import parts, views
from stzoo.inference.predict import classify


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
    with (tmp_path / "video.mp4").open("rb") as file:
        assert stzoo.predict(model, file, top=12) == from_file
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number:05}.png")
    assert dict(stzoo.predict(model, tmp_path / "frames", top=12)) == from_frames


def test_views_are_averaged_as_probabilities(model):
    frames, _, _ = motions.render(7)
    clips = clip_views(frames, model.stzoo.clip, "4x3")
    logits = model.predict_on_batch(clips)
    expected = numpy(keras.ops.softmax(logits)).mean(0)
    answer = dict(stzoo.predict(model, frames, top=12, views="4x3"))
    close(np.array([answer[label] for label in motions.CLASSES]), expected)


def test_batches_make_no_difference(model, monkeypatch):
    clips = np.random.default_rng(0).integers(0, 256, (5, 8, 64, 64, 3)).astype("uint8")
    whole = classify(model, clips)
    monkeypatch.setattr(views, "clips_at_once", lambda: 2)
    close(classify(model, clips), whole)


def test_a_model_without_labels_answers_with_indices():
    model = stzoo.c2d_tiny(classes=3, width=8, depths=(1, 1, 1, 1))
    answer = stzoo.predict(model, np.zeros((9, 80, 80, 3), "uint8"))
    assert {label for label, _ in answer} == {0, 1, 2}


def test_a_model_from_elsewhere_is_refused():
    with pytest.raises(ValueError, match="Build or load it with stzoo"):
        stzoo.predict(keras.Sequential(), "video.mp4")


@pytest.fixture
def videos(one_broken):
    """With the classes of the model."""
    names = [one_broken.classes[label] for label in one_broken.labels]
    labels = tuple(map(motions.CLASSES.index, names))
    return Videos(one_broken.paths, labels, motions.CLASSES)


def test_evaluate(model, videos, tmp_path):
    answer = evaluation.evaluate(model, videos)
    assert (answer.videos, len(answer.failed)) == (6, 1)
    assert "broken.mp4" in answer.failed[0]["video"]
    right = 0
    for path, label in zip(videos.paths, videos.labels, strict=True):
        if "broken" not in path:
            best = stzoo.predict(model, path, top=1)[0][0]
            right += best == motions.CLASSES[label]
            row = answer.classes[label]
            assert row["videos"] == 3
    assert answer.top1 == pytest.approx(right / 6)
    assert answer.confusion.sum() == 6
    assert answer.classes[0]["accuracy"] is None

    answer.save(tmp_path)
    saved = json.loads((tmp_path / "evaluation.json").read_text())
    assert saved["top1"] == answer.top1 and saved["views"] == "1x1"
    assert saved["decoder"].startswith("av ") and saved["model"] == "cost_tiny.motions"
    table = list(csv.DictReader((tmp_path / "classes.csv").read_text().splitlines()))
    assert [row["label"] for row in table] == list(motions.CLASSES)
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_evaluation_goes_on_where_it_was_interrupted(
    model, videos, tmp_path, monkeypatch
):
    monkeypatch.setattr(parts, "PART", 3)
    whole = evaluation.evaluate(model, videos)

    def interrupted(parts):
        yield parts[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(model, videos, folder=tmp_path, progress=interrupted)
    rest = []

    def record(parts):
        rest.extend(parts)
        return parts

    again = evaluation.evaluate(model, videos, folder=tmp_path, progress=record)
    assert rest == [1, 2]
    assert again.failed == whole.failed
    assert again.classes == whole.classes


def test_classes_in_another_order_are_refused(model, one_broken):
    with pytest.raises(ValueError, match="classes=model.stzoo.labels"):
        evaluation.evaluate(model, one_broken)


@pytest.mark.parametrize(
    ("count", "sizes"), [(3, [3]), (8, [8]), (11, [6, 6]), (16, [8, 8]), (30, 5 * [6])]
)
def test_views_are_shared_evenly_among_batches(count, sizes, monkeypatch):
    class Network:
        def predict_on_batch(self, clips):
            seen.append(len(clips))
            return keras.ops.convert_to_tensor(clips)

    seen = []
    monkeypatch.setattr(views, "clips_at_once", lambda: 8)
    clips = np.arange(count, dtype="float32")[:, None]
    np.testing.assert_array_equal(views.predict_views(Network(), clips), clips)
    assert seen == sizes
