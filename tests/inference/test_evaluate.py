import csv
import dataclasses
import json
import os
from importlib import metadata

import av
import keras
import numpy as np
import pytest
import sklearn.metrics
from harness import close, numpy
from PIL import Image

import stzoo
from stzoo.data import motions
from stzoo.data.datasets import Videos
from stzoo.data.reading import Reading
from stzoo.data.views import clip_views
from stzoo.inference import evaluate as evaluation
from stzoo.inference import parts, views
from stzoo.inference.predict import classify
from stzoo.weights import card
from stzoo.weights.config import ClipConfig, ModelConfig


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
    model = stzoo.c2d_tiny(classes=3, width=8, depths=(1, 1))
    answer = stzoo.predict(model, np.zeros((9, 80, 80, 3), "uint8"))
    assert {label for label, _ in answer} == {"class 0", "class 1", "class 2"}


def test_a_model_from_elsewhere_is_refused():
    with pytest.raises(ValueError) as error:
        stzoo.predict(keras.Sequential(name="mine"), "video.mp4")
    assert str(error.value) == (
        "The model 'mine' was not built by stzoo, so the preparation of its videos is "
        "unknown. Build or load it with stzoo."
    )


@pytest.fixture
def videos(one_broken):
    """With the classes of the model."""
    names = [one_broken.classes[label] for label in one_broken.labels]
    labels = tuple(map(motions.CLASSES.index, names))
    return Videos(one_broken.paths, labels, motions.CLASSES)


def measured(scores, labels, classes, failed=()):
    """The record of scores, as an evaluation makes it."""
    names = tuple(f"{number}.mp4" for number in range(len(labels)))
    paths = (*names, *(row["video"] for row in failed))
    errors = [""] * len(labels) + [row["error"] for row in failed]
    videos = Videos(paths, (*labels, *[0] * len(failed)), tuple(classes))
    rows = [*scores, *[None] * len(failed)]
    return evaluation._measured("cost_tiny.mine", "2x3", videos, rows, errors)


def test_every_figure_of_several_labels_is_scikit_learns(tmp_path):
    """Five classes, one of them without videos. One video has no label."""
    rng = np.random.default_rng(4)
    labels = (rng.random((60, 5)) < (0.6, 0.3, 0.2, 0.1, 0)).astype(int)
    labels[0] = 0
    scores = np.clip(rng.random((60, 5)) + 0.2 * labels, 0, 1).astype("float32")
    least = np.array([0.7, 0.6, 0.5, 0.9, 0.95])
    scores[:3, :4] = least[:4]  # a class that just reaches its threshold counts
    paths, rows = tuple(map(str, range(60))), tuple(map(tuple, labels))
    videos = Videos(paths, rows, tuple("abcde"), multi_label=True)
    found = evaluation._measured("mine", "1x1", videos, scores, [""] * 60, least)

    known, score = sklearn.metrics, scores[:, :4]
    answers, seen = scores >= least.astype("float32"), labels[:, :4]
    expected = known.average_precision_score(seen, score, average=None)
    mean = known.average_precision_score(seen, score, average="macro")
    assert found.mean_average_precision == pytest.approx(mean)
    figures = known.precision_recall_fscore_support(seen, answers[:, :4])
    macro = known.precision_recall_fscore_support(seen, answers[:, :4], average="macro")
    micro = known.precision_recall_fscore_support(labels, answers, average="micro")
    for place, name in enumerate(("precision", "recall", "f1")):
        assert found.macro[name] == pytest.approx(macro[place])
        assert found.micro[name] == pytest.approx(micro[place])
        column = [row[name] for row in found.classes]
        assert column == [*map(pytest.approx, figures[place]), None]
    precisions = [row["average_precision"] for row in found.classes]
    assert precisions == [*map(pytest.approx, expected), None]
    assert [row["videos"] for row in found.classes] == labels.sum(0).tolist()
    assert [row["label"] for row in found.classes] == list("abcde")
    assert [row["threshold"] for row in found.classes] == least.tolist()
    assert found.top1 is found.top5 is found.mean_class_accuracy is None
    assert found.confusion is None and found.multi_label

    found.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("classes.csv", "evaluation.json")
    ]
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["macro"] == found.macro and written["confusion"] is None
    config = ModelConfig("tsm_tiny", classes=5, multi_label=True)
    results = {r.metric_type: r.metric_value for r in card.results(config, written)}
    assert results == {"mean_average_precision": mean, "f1": found.macro["f1"]}
    none = dataclasses.replace(videos, labels=((0,) * 5,) * 60)
    with pytest.raises(ValueError, match="No decoded video has a label"):
        evaluation._measured("mine", "1x1", none, scores, [""] * 60, least)


def test_the_kinds_of_labels_must_agree(videos):
    model = stzoo.cost_tiny(pretrained="motions")
    rows = np.eye(12, dtype=int)[list(videos.labels)]
    several = dataclasses.replace(videos, labels=rows, multi_label=True)
    message = "gives one label to a video, but the videos have several.*--single-label"
    with pytest.raises(ValueError, match=message):
        stzoo.evaluate(model, several)
    model.stzoo = dataclasses.replace(model.stzoo, multi_label=True)
    with pytest.raises(ValueError, match="gives several labels.*--multi-label"):
        stzoo.evaluate(model, videos)


def test_an_evaluation_has_the_thresholds_of_the_model(videos, tmp_path):
    model = stzoo.cost_tiny(pretrained="motions")
    stzoo.evaluate(model, videos, folder=tmp_path)
    thresholds = tuple(np.linspace(0.1, 0.9, 12).tolist())
    kind = {"multi_label": True, "thresholds": thresholds}
    model.stzoo = dataclasses.replace(model.stzoo, **kind)
    rows = np.eye(12, dtype=int)[list(videos.labels)]
    several = dataclasses.replace(videos, labels=rows, multi_label=True)
    found = stzoo.evaluate(model, several)
    assert [row["threshold"] for row in found.classes] == list(thresholds)
    with pytest.raises(ValueError, match="another extraction, with different layer"):
        stzoo.evaluate(model, several, folder=tmp_path)  # it has parts of another kind


def test_every_figure_is_scikit_learns():
    """Seven classes, one of them without videos; scores in steps, so with ties."""
    rng = np.random.default_rng(3)
    classes = tuple("abcdefg")
    labels = np.append(rng.integers(0, 6, 79), 5)
    scores = rng.random((80, 7)) + 0.3 * np.eye(7)[labels]
    answers = scores.argmax(-1)
    found = measured(scores, labels, classes, [{"video": "x", "error": "y"}])

    assert found.model == "cost_tiny.mine" and found.views == "2x3"
    assert found.videos == 80 and found.failed == [{"video": "x", "error": "y"}]
    numbers = range(7)
    top1 = sklearn.metrics.accuracy_score(labels, answers)
    top5 = sklearn.metrics.top_k_accuracy_score(labels, scores, k=5, labels=numbers)
    matrix = sklearn.metrics.confusion_matrix(labels, answers, labels=numbers)
    assert found.top1 == pytest.approx(top1)
    assert found.top5 == pytest.approx(top5)
    assert 0.1 < found.top1 < found.top5 < 1
    np.testing.assert_array_equal(found.confusion, matrix)
    recalls = sklearn.metrics.recall_score(
        labels, answers, labels=range(6), average=None
    )
    assert found.mean_class_accuracy == pytest.approx(recalls.mean())
    assert abs(found.mean_class_accuracy - found.top1) > 1e-3
    precisions = []
    for number in range(6):
        precision, recall, _ = sklearn.metrics.precision_recall_curve(
            labels == number, scores[:, number]
        )
        best = np.maximum.accumulate(precision)  # recall falls along the curve
        precisions.append(-(np.diff(recall) * best[:-1]).sum())
    assert found.mean_average_precision == pytest.approx(np.mean(precisions))

    assert [row["label"] for row in found.classes] == list(classes)
    assert [row["videos"] for row in found.classes] == np.bincount(
        labels, minlength=7
    ).tolist()
    for number, row in enumerate(found.classes[:6]):
        assert list(row) == COLUMNS
        assert row["accuracy"] == pytest.approx(recalls[number])
        assert row["average_precision"] == pytest.approx(precisions[number])
        wrong = [answer for answer in answers[labels == number] if answer != number]
        most = max(set(wrong), key=lambda answer: (wrong.count(answer), -answer))
        assert row["mistaken_for"] == classes[most]
    assert found.classes[6] == dict(
        zip(COLUMNS, ("g", 0, None, None, None), strict=True)
    )


COLUMNS = ["label", "videos", "accuracy", "average_precision", "mistaken_for"]


def test_figures_by_hand():
    scores = np.array(
        [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0, 0.4, 0.6]]
    )
    found = measured(scores, np.array([0, 0, 1, 0]), ("a", "b", "c"))
    assert (found.videos, found.failed) == (4, [])
    assert (found.top1, found.top5) == (0.5, 1.0)
    assert found.confusion.tolist() == [[1, 1, 1], [0, 1, 0], [0, 0, 0]]
    assert found.mean_class_accuracy == pytest.approx((1 / 3 + 1) / 2)
    # Of class a at places 1, 2 and 4; of class b at place 1.
    assert found.mean_average_precision == pytest.approx(((1 + 1 + 3 / 4) / 3 + 1) / 2)
    assert [tuple(row.values()) for row in found.classes] == [
        ("a", 3, pytest.approx(1 / 3), pytest.approx(11 / 12), "b"),
        ("b", 1, 1.0, 1.0, None),
        ("c", 0, None, None, None),
    ]
    assert type(found.classes[0]["videos"]) is int
    assert found.backend == keras.backend.backend()
    assert found.versions == {
        "stzoo": metadata.version("stzoo"),
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
    assert found.decoder == f"av {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def test_the_files_of_an_evaluation_hold_all_of_it(tmp_path):
    scores = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    failed = [{"video": "größe.mp4", "error": "no video"}]
    found = measured(scores, np.array([0, 0]), ("a", "é,", "c"), failed)
    folder = tmp_path / "new" / "folder"
    found.save(str(folder))
    names = {"evaluation.json", "classes.csv", "confusion.png"}
    names |= {"mistakes.csv", "mistakes.png"}
    assert {path.name for path in folder.iterdir()} == names
    text = (folder / "evaluation.json").read_text("utf-8")
    saved = json.loads(text)
    names = {field.name for field in dataclasses.fields(found)}
    assert saved.keys() == names - {"mistakes"}
    assert saved.pop("confusion") == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    for key, value in saved.items():
        assert value == getattr(found, key), key
    assert "größe.mp4" in text and text.startswith('{\n "model"')
    assert text.endswith("}\n")
    rows = list(csv.reader((folder / "classes.csv").read_text("utf-8").splitlines()))
    assert rows == [
        COLUMNS,
        ["a", "2", "0.5", "1.0", "é,"],
        ["é,", "0", "", "", ""],
        ["c", "0", "", "", ""],
    ]
    assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_the_most_confident_mistakes_are_first(tmp_path):
    scores = np.array([[0.3, 0.7], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.4, 0.6]])
    found = measured(scores, np.array([0, 0, 0, 1, 1]), ("a", "größe"))
    assert [tuple(row.values()) for row in found.mistakes] == [
        ("2.mp4", "a", "größe", 0.8),
        ("0.mp4", "a", "größe", 0.7),
        ("3.mp4", "größe", "a", 0.6),
    ]
    found.save(tmp_path)
    rows = (tmp_path / "mistakes.csv").read_text("utf-8").splitlines()
    assert rows[0] == "video,label,answer,probability"
    assert rows[1] == "2.mp4,a,größe,0.8" and len(rows) == 4
    assert "mistakes" not in json.loads((tmp_path / "evaluation.json").read_text())
    measured(np.eye(2), np.arange(2), ("a", "b")).save(tmp_path)
    assert not (tmp_path / "mistakes.png").exists()
    assert (tmp_path / "mistakes.csv").read_text().splitlines() == rows[:1]


def test_the_picture_shows_the_middle_frames_of_24_mistakes(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        evaluation, "contact_sheet", lambda *given: drawn.append(given) or b"png"
    )
    frames = np.zeros((5, 32, 48, 3), np.uint8)
    frames[2] = 200
    motions.save(tmp_path / "video.mp4", frames, quantiser=0)
    row = {"label": "a", "answer": "b", "probability": 0.996}
    names = ["video.mp4", "gone.mp4", *["video.mp4"] * 28]
    rows = [{"video": str(tmp_path / name), **row} for name in names]
    table = [{"label": "a", "videos": 30}]
    measured = (0.0, 1.0, 0.0, 0.5, table, np.zeros((1, 1), int))
    found = evaluation.Evaluation("model", "1x1", 30, [], *measured, mistakes=rows)
    found.save(tmp_path / "new")
    ((pictures, captions),) = drawn
    assert len(pictures) == 24 and captions == ["a\nanswer 100 %: b"] * 24
    assert pictures[1] is None
    assert pictures[0].min() > 190 and pictures[0].shape == (240, 360, 3)
    assert (tmp_path / "new" / "mistakes.png").read_bytes() == b"png"


def test_without_matplotlib_there_is_no_picture(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(evaluation, "find_spec", lambda name: None)
    measured(np.eye(2), np.arange(2), ("a", "b")).save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"evaluation.json", "classes.csv", "mistakes.csv"}
    assert caplog.messages == [
        "confusion.png was not written, because matplotlib is not installed. Install "
        'it with `pip install "stzoo[plots]"`.'
    ]


def test_a_model_of_one_class(tmp_path):
    found = measured(np.ones((2, 1)), np.zeros(2, int), ("a",))
    assert (found.top1, found.top5, found.mean_average_precision) == (1, 1, 1)
    found.save(tmp_path)
    table = (tmp_path / "classes.csv").read_text("utf-8").splitlines()
    assert table == [",".join(COLUMNS), "a,2,1.0,1.0,"]


def test_an_evaluation_is_of_all_videos():
    videos = Videos(("a.mp4", "b.mp4"), (0, 0), ("a", "b"))
    for errors in ([""], [""] * 3):
        rows = list(np.eye(2))[: len(errors)]
        with pytest.raises(ValueError, match="argument 2 is"):
            evaluation._measured("mine", "1x1", videos, rows, errors)


def test_evaluate(model, videos):
    answer = evaluation.evaluate(model, videos)
    broken = [path for path in videos.paths if "broken" in path]
    assert [row["video"] for row in answer.failed] == broken and len(broken) == 1
    assert "broken.mp4" in answer.failed[0]["error"]
    assert (answer.model, answer.views) == ("cost_tiny.motions", "1x1")
    rows = {
        path: dict(stzoo.predict(model, path, top=12))
        for path in videos.paths
        if path not in broken
    }
    scores = np.array(
        [[row[name] for name in motions.CLASSES] for row in rows.values()]
    )
    labels = [videos.labels[videos.paths.index(path)] for path in rows]
    expected = measured(scores, np.array(labels), motions.CLASSES, answer.failed)
    assert answer.sha256 == model.stzoo.sha256 and len(answer.sha256) == 64
    expected = dataclasses.replace(expected, sha256=answer.sha256)
    for field in dataclasses.fields(answer)[2:]:
        found, wanted = getattr(answer, field.name), getattr(expected, field.name)
        assert np.array_equal(found, wanted), field.name
    assert answer.confusion.sum() == answer.videos == 6


class Bright:
    """A stand-in for a model of the zoo: it tells dark, grey and bright clips apart."""

    name = "bright"

    def __init__(self, **config):
        clip = ClipConfig(frames=2, stride=1, height=8, width=8, short_side=8)
        self.stzoo = ModelConfig(
            "bright", "mine", clip=clip, **{"classes": 3, **config}
        )
        self.weights = ()
        self.seen = []

    def predict_on_batch(self, clips):
        assert clips.dtype == np.uint8 and clips.shape[1:] == (2, 8, 8, 3)
        self.seen.append(len(clips))
        light = clips.mean((1, 2, 3, 4)) / 255
        logits = -30 * (light[:, None] - np.array([0, 0.5, 1])) ** 2
        return keras.ops.convert_to_tensor(logits.astype("float32"))


def probabilities(light):
    powers = np.exp(-30 * (light - np.array([0, 0.5, 1])) ** 2)
    return powers / powers.sum()


@pytest.fixture
def lights(tmp_path):
    """Folders of frames, each of one brightness, and a text that is none."""
    paths = []
    for number, light in enumerate((0, 255, 128, 255, 128)):
        folder = tmp_path / "videos" / str(number)
        folder.mkdir(parents=True)
        for frame in range(3):
            image = np.full((8, 12, 3), light, np.uint8)
            Image.fromarray(image).save(folder / f"{frame:05}.png")
        paths.append(str(folder))
    broken = tmp_path / "videos" / "broken.mp4"
    broken.write_text("no video")
    paths.insert(2, str(broken))
    return Videos(tuple(paths), (0, 2, 1, 1, 1, 0), ("dark", "grey", "bright"))


@pytest.mark.parametrize("kept", [False, True])
def test_evaluation_of_a_model_of_brightness(lights, tmp_path, kept):
    """Right, right, broken, right, bright for grey, grey for dark."""
    model, seen = Bright(), []

    def progress(things):
        seen.extend(things)
        return iter(things)

    folder = tmp_path / "kept" if kept else None
    found = evaluation.evaluate(
        model,
        lights,
        views="1x3",
        folder=folder,
        reading=Reading(num_workers=2),
        progress=progress,
    )
    assert found.confusion.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert (found.videos, found.top1, found.views) == (5, 3 / 5, "1x3")
    assert found.model == "bright.mine"
    assert [row["mistaken_for"] for row in found.classes] == ["grey", "bright", None]
    assert [row["video"] for row in found.failed] == [lights.paths[2]]
    assert seen == ([0] if kept else list(lights.paths))
    if kept:
        run = json.loads((folder / "run.json").read_text())
        assert (run["layer"], run["views"]) == ("probabilities", "1x3")
        paths, rows, errors = parts.read_part(folder / "part-000000.npz")
        assert paths == list(lights.paths) and rows.shape == (6, 3)
        assert [bool(error) for error in errors] == [False] * 2 + [True] + [False] * 3
        close(rows[5], probabilities(128 / 255))


def test_videos_are_read_as_is_asked(lights, monkeypatch):
    seen = []

    def map_videos(function, paths, clip, asked, reading):
        seen.append((asked, reading.num_workers, reading.sample_fps))
        return views.map_videos(function, paths, clip, asked, reading)

    monkeypatch.setattr(evaluation, "map_videos", map_videos)
    evaluation.evaluate(Bright(), lights)
    evaluation.evaluate(Bright(), lights, views="2x1", reading=Reading(num_workers=3))
    message = refused(Bright(), lights, reading=Reading(sample_fps=5))
    assert "has no frame rate" in message, "which a folder of frames does not have"
    assert seen == [("1x1", 4, None), ("2x1", 3, None), ("1x1", 4, 5)]


def test_predict_has_the_probabilities_of_the_logits():
    for light in (0, 40, 128, 255):
        video = np.full((5, 8, 12, 3), light, np.uint8)
        answer = stzoo.predict(Bright(), video)
        expected = probabilities(light / 255)
        order = np.argsort(-expected, kind="stable").tolist()
        assert [label for label, _ in answer] == [f"class {n}" for n in order]
        assert [p for _, p in answer] == pytest.approx(expected[order], rel=1e-4)
        assert all(type(probability) is float for _, probability in answer)
    labelled = Bright(labels=("dark", "grey", "bright"))
    assert stzoo.predict(labelled, video, top=1)[0][0] == "bright"
    assert len(stzoo.predict(labelled, video, top=2)) == 2
    assert len(stzoo.predict(Bright(classes=3), video)) == 3


def test_five_answers_of_many_and_the_first_of_equals():
    class Equal(Bright):
        def predict_on_batch(self, clips):
            self.seen.append(len(clips))
            return keras.ops.zeros((len(clips), 40))

    model = Equal(classes=40)
    answer = stzoo.predict(model, np.zeros((9, 8, 12, 3), np.uint8))
    assert answer == [(f"class {n}", pytest.approx(1 / 40)) for n in range(5)]
    assert sum(model.seen) == 1
    video = np.zeros((9, 8, 12, 3), np.uint8)
    stzoo.predict(model, video, views="2x3")
    assert sum(model.seen) == 7


def test_large_logits_have_probabilities():
    class Large(Bright):
        def predict_on_batch(self, clips):
            rows = [[2000.0, 2001.0, -2000.0], [-2000.0, -2000.0, -2001.0]]
            return keras.ops.convert_to_tensor([rows[number] for number in clips])

    found = classify(Large(), np.arange(2))
    e = np.e
    expected = [
        [1 / (1 + e), e / (1 + e), 0],
        [e / (2 * e + 1)] * 2 + [1 / (2 * e + 1)],
    ]
    close(found, np.array(expected))


def refused(model, videos, **kwargs):
    with pytest.raises(ValueError) as error:
        evaluation.evaluate(model, videos, **kwargs)
    return str(error.value)


def test_what_cannot_be_evaluated(lights, tmp_path):
    unlabelled = dataclasses.replace(lights, labels=())
    assert refused(Bright(), unlabelled) == (
        "The videos have no labels, so a model cannot be evaluated."
    )
    four = Bright(labels=("grey", "dark", "bright", "white"), classes=4)
    assert refused(four, lights) == (
        "The classes of the videos must be those of the model, in the same order. Read "
        "the videos with classes=model.stzoo.labels. Videos: dark, grey, bright. "
        "Model: grey, dark, bright, ... (4)."
    )
    assert refused(Bright(classes=4), lights) == (
        "The videos have 3 classes, but the model has 4."
    )
    assert refused(Bright(), lights, engine="ray") == (
        "engine='ray' needs a folder. Pass folder=..."
    )
    assert refused(Bright(), lights, folder=tmp_path / "kept", engine="spark") == (
        "engine must be one of ('local', 'ray'). Received: 'spark'."
    )
    broken = Videos(lights.paths[2:3], (0,), lights.classes)
    message = refused(Bright(), broken)
    assert message.startswith("No video could be decoded. The first error: ")
    assert "broken.mp4" in message
    assert not (tmp_path / "kept").exists()


def test_names_that_are_not_utf_8_are_saved(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    labels = (name, "b")
    failed = [{"video": f"{name}.mp4", "error": f"{name}.mp4 cannot be read"}]
    matrix = np.array([[1, 1], [1, 1]])
    rows = [{"label": label, "videos": 2, "mistaken_for": name} for label in labels]
    measured = (0.5, 1.0, 0.5, 0.5, rows, matrix)
    evaluation.Evaluation("model", "1x1", 4, failed, *measured).save(tmp_path)
    saved = json.loads((tmp_path / "evaluation.json").read_bytes().decode())
    assert saved["failed"] == failed and saved["classes"][0]["label"] == name
    table = (tmp_path / "classes.csv").read_bytes().decode().splitlines()
    assert table[1:] == [r"caf\udce9,2,caf\udce9", r"b,2,caf\udce9"]
    assert (tmp_path / "confusion.png").exists()


@pytest.mark.parametrize("wrong", [None, [[1]], 3])
def test_what_is_no_video(model, wrong):
    with pytest.raises(ValueError, match="must be a path, a URL, .* uint8 array"):
        stzoo.predict(model, wrong)


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
    for field in dataclasses.fields(whole):
        found, expected = getattr(again, field.name), getattr(whole, field.name)
        assert np.array_equal(found, expected), field.name


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
