import numpy as np
import train_motions
from harness import close, numpy

import stzoo
from stzoo.data import motions
from stzoo.weights import hub

TEACHER = hub.shipped("cost_tiny.motions")


def test_the_shapes_of_the_same_videos(tmp_path, capsys):
    size = ("--option", "width=8", "--option", "depths=1,1,1,1")
    arguments = ("--labels", "shape", "--videos", "40", "--epochs", "1", *size)
    folders = ("--data", f"{tmp_path}/data", "--out", f"{tmp_path}/mine")
    train_motions.main(["cost_tiny", *arguments, *folders])
    assert "top-1" in capsys.readouterr().out
    config = stzoo.load(tmp_path / "mine").stzoo
    assert config.name == "cost_tiny.shapes" and config.labels == motions.SHAPES
    assert config.measured["videos"] == 8


def test_a_transformer_also_learns_the_maps_of_a_teacher(tmp_path):
    model = stzoo.videomae_tiny(12, width=24, depth=1)
    teacher = train_motions.teacher_of(TEACHER, "layer3_1_relu")
    taught = train_motions.with_maps(model, teacher.output_shape)
    assert taught.output_shape == [(None, 12), (None, *teacher.output_shape[1:])]

    paths, labels = train_motions.prepare(tmp_path / "data", "train", 1, 8)
    clip = model.stzoo.clip
    videos = train_motions.decode(paths, lambda one: train_motions.frames(one, clip))
    clips = train_motions.Clips(videos, labels, clip, 8)
    lessons = train_motions.Lessons(clips, teacher)
    x, (answers, maps) = lessons[0]
    assert len(lessons) == 1 and sorted(answers) == sorted(labels)
    close(maps * (lessons.deviation + 0.01) + lessons.mean, teacher(x[:, ::2]))
    np.testing.assert_allclose(maps.mean((0, 1, 2, 3)), 0, atol=1e-4)


def test_a_teacher_leaves_the_network_as_it_is(tmp_path, capsys):
    command = ["videomae_tiny", "--videos", "40", "--epochs", "1"]
    command += ["--option", "depth=1", "--teacher", str(TEACHER)]
    folders = ["--data", f"{tmp_path}/data", "--out", f"{tmp_path}/mine"]
    train_motions.main([*command, *folders])
    assert "top-1" in capsys.readouterr().out
    model = stzoo.load(tmp_path / "mine")
    assert model.count_params() == stzoo.videomae_tiny(depth=1).count_params()


def test_a_start_from_another_architecture_copies_the_weights_that_both_have(tmp_path):
    video_mae = stzoo.videomae_tiny(12, width=24, depth=1)
    model = stzoo.vjepa2_tiny(12, width=24, depth=1)
    before = {weight.path: numpy(weight) for weight in model.weights}
    copied = train_motions.copy_weights(video_mae, model)
    others = {weight.path: numpy(weight) for weight in video_mae.weights}
    for weight in model.weights:
        is_shared = weight.path.startswith(("patch_embed/", "layer_0_", "fc/"))
        is_shared &= weight.path != "layer_0_key/bias"  # VideoMAE has none
        expected = others if is_shared else before
        np.testing.assert_array_equal(numpy(weight), expected[weight.path])
        copied -= is_shared
    assert copied == 0


def test_videos_are_rendered_once_and_more_if_need_be(tmp_path, monkeypatch):
    rendered, write = [], motions.write

    def count(folder, number, seed):
        rendered.append(number)
        return write(folder, number, seed)

    monkeypatch.setattr(motions, "write", count)
    paths, labels = train_motions.prepare(tmp_path, "test", 2, 4)
    again, shapes = train_motions.prepare(tmp_path, "test", 2, 3, "shape")
    assert again == paths[:3] and rendered == [4]
    more, numbers = train_motions.prepare(tmp_path, "test", 2, 6)
    assert more[:4] == paths and list(numbers[:4]) == list(labels)
    assert rendered == [4, 6]
