import csv

import numpy as np
import pytest
from harness import close
from PIL import Image

import stzoo
from stzoo.data import motions, scenes
from stzoo.data.video import Video
from stzoo.data.views import clip_views
from stzoo.explain import reports
from stzoo.explain.contributions import contributions
from stzoo.explain.saliency import overlay, saliency

SMALL = dict(input_shape=(4, 32, 32, 3), width=8, depths=(2, 1, 1, 1))


@pytest.fixture(scope="module")
def model():
    return stzoo.cost_tiny(pretrained="motions")


@pytest.fixture
def falling(tmp_path):
    path = tmp_path / "falling.mp4"
    motions.save(path, motions.render(5, "falling")[0])
    return path


def film(path):
    with Video(path) as video:
        return video.read(range(len(video))).astype(int), video.fps


def test_a_film_and_a_strip_of_a_video(model, falling, tmp_path):
    title, answers, paths = reports.of_video(model, tmp_path / "new", falling)
    assert title == "falling.mp4: saliency for falling in cost_tiny.motions"
    assert answers[0][0] == "falling" and len(answers) == 5
    assert [path.name for path in paths] == [
        "falling_saliency.png",
        "falling_saliency.mp4",
    ]

    with Video(falling) as video:
        frames = video.read(range(len(video)), short_side=72)[:, 4:-4, 4:-4]
        clips = clip_views(video, model.stzoo.clip)
    maps = saliency(model, clips)[0]
    strip = np.asarray(Image.open(paths[0]))
    colours = overlay(clips[0], maps)
    for number in (0, 7):  # twice as large, the frame above its saliency
        left = 12 + 128 * number
        column = strip[34 : 34 + 256 : 2, left : left + 128 : 2]
        close(column, np.concatenate([clips[0][number], colours[number]]))

    shown, fps = film(paths[1])
    assert fps == motions.FPS and shown.shape == (16, 256, 256, 3)
    assert np.array_equal(frames[3:19:2], clips[0])
    expected = overlay(frames[3:19], maps.repeat(2, 0)).repeat(4, 1).repeat(4, 2)
    assert np.abs(shown - expected).mean() < 3  # of 255, the error of H.264


def test_another_layer_and_another_class(model, falling, tmp_path):
    place = tmp_path, falling, "layer2_1_relu"
    title, _, (strip, _) = reports.of_video(model, *place, "rising")
    assert title.endswith("saliency for rising in cost_tiny.motions, at layer2_1_relu")
    first = strip.read_bytes()
    reports.of_video(model, *place)
    assert strip.read_bytes() != first
    with pytest.raises(ValueError, match="'salsa' is not one of the 12 classes"):
        reports.of_video(model, *place, "salsa")


def test_a_film_of_segments_has_the_length_of_the_video(falling, tmp_path):
    model = stzoo.tsn_tiny(input_shape=(3, 33, 35, 3), width=8)  # H.264 has even sizes
    assert model.stzoo.clip.sampling == "segments"
    title, _, (_, path) = reports.of_video(model, tmp_path, falling, label="class 7")
    assert "saliency for class 7 in tsn_tiny" in title
    shown, fps = film(path)
    assert len(shown) == 24
    assert len(shown) / fps == pytest.approx(scenes.FRAMES / motions.FPS, 0.01)
    assert shown.shape[1:3] == (264, 280)


def test_a_video_without_evidence_for_the_class(falling, tmp_path):
    model = stzoo.cost_tiny(classes=2, **SMALL)
    kernel = model.get_layer("fc").kernel
    kernel.assign(np.zeros(kernel.shape))
    assert reports.of_video(model, tmp_path, falling)[0].endswith("(nothing)")


def test_shares_of_a_folder_of_videos(model, motion_folder, tmp_path):
    found, paths = reports.of_network(model, tmp_path, motion_folder)
    clips, labels = [], []
    for number in range(6):
        motion = ("rising", "shaking")[number % 2]
        with Video(motion_folder / motion / f"{number}.mp4") as video:
            clips.append(clip_views(video, model.stzoo.clip)[0])
        labels.append(motions.CLASSES.index(motion))
    expected = contributions(model, [(np.stack(clips), labels)])
    assert found.classes == ("rising", "shaking") and found.videos == (3, 3)
    close(found.by_layer, expected.by_layer)
    close(found.by_class, expected.by_class)
    rows = list(csv.DictReader(paths[0].read_text().splitlines()))
    assert float(rows[0]["hw"]) == pytest.approx(expected.by_layer[0, 0], 1e-4)
    assert [path.name for path in paths] == [
        "contributions.csv",
        "by_layer.png",
        "by_channel.png",
        "by_class.png",
    ]
    for path in paths[1:]:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_list_in_many_batches_and_one_broken_video(
    model, motion_folder, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(reports, "BATCH", 2)
    (tmp_path / "broken.mp4").write_text("no video")
    videos = sorted(motion_folder.glob("*/*.mp4"))
    listed = tmp_path / "list.csv"
    rows = [f"{path},2,{path.parent.name}" for path in videos]
    rows.append("broken.mp4,2,rising")
    listed.write_text("\n".join(["path,shape,motion", *rows]))
    reading = dict(source=listed, label="motion")
    with pytest.raises(ValueError, match="broken.mp4"):
        reports.of_network(model, tmp_path, **reading)
    found, _ = reports.of_network(model, tmp_path, **reading, skip=True)
    assert found.total == 6 and found.classes == ("rising", "shaking")
    assert "Skipped: " in caplog.text and "broken.mp4" in caplog.text
    whole, _ = reports.of_network(model, tmp_path, motion_folder)
    close(found.by_class, whole.by_class)


def test_shares_without_videos_or_labels(motion_folder, tmp_path, monkeypatch, caplog):
    model = stzoo.cost_tiny(variant="a", classes=2, **SMALL)
    assert reports.of_network(model, tmp_path)[0].total == 0
    found, paths = reports.of_network(model, tmp_path, motion_folder / "rising")
    assert found.total == 3 and found.classes == ()
    assert "by_class.png" not in [path.name for path in paths]
    found, _ = reports.of_network(model, tmp_path, motion_folder)
    assert found.classes == (
        "class 0",
        "class 1",
    )  # the same number of classes, without names
    monkeypatch.setattr(reports, "find_spec", lambda name: None)
    assert len(reports.of_network(model, tmp_path)[1]) == 1
    assert 'pip install "stzoo[plots]"' in caplog.text


def test_bad_arguments_are_refused(model, motion_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    cases = [
        (model, dict(source=tmp_path / "empty"), "empty has no videos"),
        (model, dict(source=tmp_path / "none"), "none"),
        (model, {}, "depend on the clip"),
        (model, dict(layer="fc"), "cost_tiny has no coefficients in 'fc'"),
        (stzoo.c2d_tiny(**SMALL), dict(source=motion_folder), "no coefficients"),
        (
            stzoo.cost_tiny(classes=5, **SMALL),
            dict(source=motion_folder),
            "has 2 classes, cost_tiny has 5, and 'rising' is not one of them",
        ),
    ]
    for network, options, message in cases:
        with pytest.raises((OSError, ValueError), match=message):
            reports.of_network(network, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
