import train_motions

import stzoo
from stzoo.data import motions


def test_the_shapes_of_the_same_videos(tmp_path, capsys):
    size = ("--option", "width=8", "--option", "depths=1,1,1,1")
    arguments = ("--labels", "shape", "--videos", "40", "--epochs", "1", *size)
    folders = ("--data", f"{tmp_path}/data", "--out", f"{tmp_path}/mine")
    train_motions.main(["cost_tiny", *arguments, *folders])
    assert "top-1" in capsys.readouterr().out
    config = stzoo.load(tmp_path / "mine").stzoo
    assert config.name == "cost_tiny.shapes" and config.labels == motions.SHAPES
    assert config.measured["videos"] == 8


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
