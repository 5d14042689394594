"""Lists with several labels a video. Each holds the videos a, b and c."""

import json
from pathlib import Path

import numpy as np
import pytest
from harness import touch

from stzoo.data import splits
from stzoo.data.datasets import Videos, read
from stzoo.data.mirroring import mirrored_label
from stzoo.data.pipeline import Order, clips, with_layer
from stzoo.data.transforms import Augment
from stzoo.weights.config import ClipConfig

LABELS = ((1, 1), (0, 0), (0, 1))  # of jump and run
DETECTED = {
    "bar.csv": "path,labels\na.mp4,jump|run\nb.mp4,\nc.mp4,run\n",
    "semicolon.csv": "labels,path\njump; run,a.mp4\n,b.mp4\nrun,c.mp4\n",
    "tab.tsv": "Path\tLabels\na.mp4\trun|jump\nb.mp4\t\nc.mp4\trun|run\n",
    "columns.csv": "path,jump,run\na.mp4,1,1\nb.mp4,0,0\nc.mp4,0,1\n",
    "pandas.csv": "path,jump,run\na.mp4,True,1.0\nb.mp4,False,0\nc.mp4,0.0,1\n",
    "split.csv": "run,split,path,jump\n1,x,a.mp4,1\n0,x,b.mp4,0\n1,x,c.mp4,0\n",
}
ASKED = {
    "label.csv": "path,label\na.mp4,jump|run\nb.mp4,\nc.mp4,run\n",
    "other.csv": "path,verbs\na.mp4,jump|run\nb.mp4,\nc.mp4,run\n",
    "plain.csv": "a.mp4,jump|run\nb.mp4,\nc.mp4,run\n",
    "cells.csv": "a.mp4,jump,run\nb.mp4\nc.mp4,run\n",
    "space.txt": "a.mp4 jump;run\nb.mp4\nc.mp4 run\n",
}


@pytest.fixture
def folder(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    return tmp_path


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("name", [*DETECTED, *ASKED])
def test_lists_with_several_labels(folder, name):
    text = (DETECTED | ASKED)[name]
    found = read(write(folder, name, text), multi_label=True if name in ASKED else None)
    columns = [found.classes.index(label) for label in ("jump", "run")]
    assert len(found.classes) == 2 and found.multi_label
    assert [tuple(row[n] for n in columns) for row in found.labels] == list(LABELS)
    assert [Path(path).name for path in found.paths] == ["a.mp4", "b.mp4", "c.mp4"]
    np.testing.assert_array_equal(found.counts[columns], (1, 2))
    again = read(folder / name, classes=["run", "x", "jump"], multi_label=True)
    assert again.labels == ((1, 0, 1), (0, 0, 0), (1, 0, 0))


@pytest.mark.parametrize("text", ["path,labels\na.mp4,run\nb.mp4,fly\nc.mp4,run\n"])
def test_a_list_without_separators_has_one_label(folder, text):
    path = write(folder, "list.csv", text)
    assert read(path).labels == (1, 0, 1) and not read(path).multi_label
    several = read(path, multi_label=True)
    assert several.labels == ((0, 1), (1, 0), (0, 1))
    path = write(folder, "bars.csv", "path,label\na.mp4,x|y\nb.mp4,x\nc.mp4,x\n")
    assert read(path).classes == ("x", "x|y")
    path = write(folder, "numbers.csv", "path,action\na.mp4,1\nb.mp4,0\nc.mp4,1\n")
    assert read(path).classes == ("0", "1") and not read(path).multi_label
    named = write(folder, "named.csv", DETECTED["bar.csv"].replace(",\n", ",x\n"))
    assert not read(named, multi_label=False).multi_label


def test_lists_of_mmaction2(folder):
    path = write(folder, "list.txt", "a.mp4 3 1\nb.mp4\nc.mp4 10\n")
    with pytest.raises(ValueError, match="pass multi_label=True .--multi-label."):
        read(path)
    found = read(path, multi_label=True)
    assert found.classes == ("1", "3", "10")
    assert found.labels == ((1, 1, 0), (0, 0, 0), (0, 0, 1))
    for name in ("x", "y"):
        touch(folder, f"{name}/0.jpg")
    path = write(folder, "frames.txt", "x 1 0 2\ny 1\n")
    found = read(path, multi_label=True)
    assert found.classes == ("0", "2") and found.labels == ((1, 1), (0, 0))
    path = write(folder, "wrong.txt", "x 1 0 2\ny\n")
    with pytest.raises(ValueError, match="line 2: expected a folder, the number"):
        read(path, multi_label=True)


def test_charades(folder):
    header = "id,subject,scene,quality,script,actions,length\n"
    rows = (
        'a,S1,Home,6,"He, then",c092 11.90 21.20;c147 0.00 12.60,33.67',
        "b,S2,Home,6,Nothing,,30.1",
        "c,S1,Home,6,He,c147 0.00 12.60;c147 13.0 14.0,3.1",
    )
    path = write(folder, "Charades_v1_train.csv", header + "\n".join(rows) + "\n")
    found = read(path)
    assert found.multi_label and found.classes == ("c092", "c147")
    assert found.labels == LABELS
    names = "c000 Holding some clothes\nc092 Sitting\nc147 Sneezing somewhere\n"
    write(folder, "Charades_v1_classes.txt", names)
    found = read(path)
    assert found.classes == ("Holding some clothes", "Sitting", "Sneezing somewhere")
    assert found.labels == tuple((0, *row) for row in LABELS)
    with pytest.raises(ValueError, match="Remove multi_label=False"):
        read(path, multi_label=False)


def test_a_folder_of_classes_has_rows_of_one_label(tmp_path):
    touch(tmp_path, "run/a.mp4", "fly/b.mp4")
    assert read(tmp_path, multi_label=True).labels == ((1, 0), (0, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,x,y\na.mp4,1,0\nb.mp4,2,0\n", "expected 0 or 1 in the column 'x'"),
        ("path,x,y\na.mp4,1,0\nb.mp4,1\n", "line 3: expected 0 or 1 in the column 'y'"),
        ("path,x,x\na.mp4,1,0\n", "has two columns 'x'. Rename"),
        ("path,x,n\na.mp4,1,7\n", "Pass the class column"),
        ("path,labels\na.mp4,x|y\nz.mp4,x\n", "there is no video z.mp4"),
    ],
)
def test_wrong_lists(folder, text, message):
    with pytest.raises(ValueError, match=message):
        read(write(folder, "list.csv", text))


def test_a_class_that_is_not_known(folder):
    path = write(folder, "list.csv", DETECTED["bar.csv"])
    with pytest.raises(ValueError, match="'jump' is not one of the 1 classes: run"):
        read(path, classes=["run"])
    found = read(path, classes=["run"], skip=True)
    assert found.labels == ((0,), (1,)) and len(found.skipped) == 1


def test_rows_are_checked():
    found = Videos(("a",), np.array([[0, 1]]), ("x", "y"), multi_label=True)
    assert found.labels == ((0, 1),)
    for rows in ([[0]], [[0, 2]]):
        with pytest.raises(ValueError, match="a row of 0 and 1 for each video"):
            Videos(("a",), rows, ("x", "y"), multi_label=True)


def test_the_labels_of_a_mirrored_clip_are_swapped():
    pairs = {0: 1, 1: 0, 3: None}
    assert mirrored_label((1, 0, 1, 0), pairs) == (0, 1, 1, 0)
    assert mirrored_label((1, 1, 0, 0), pairs) == (1, 1, 0, 0)
    assert mirrored_label((0, 0, 0, 0), pairs) == (0, 0, 0, 0)
    assert mirrored_label((1, 0, 0, 1), pairs) is None
    assert (mirrored_label(0, pairs), mirrored_label(3, pairs)) == (1, None)


def test_batches_have_rows_and_black_clips_none(motion_folder):
    paths = read(motion_folder).paths[:3]
    videos = Videos(paths, LABELS, ("turn left", "turn right"), multi_label=True)
    clip = ClipConfig(frames=2, height=8, width=8, short_side=8)
    (_, labels, weights) = list(clips(videos, clip, 2))[1]
    np.testing.assert_array_equal(labels, [LABELS[2], (0, 0)])
    assert labels.dtype == "float32" and weights.tolist() == [1, 0]
    batches = iter(clips(videos, clip, 3, train=True, order=Order(seed=1)))
    seen = {tuple(row) for _ in range(8) for row in next(batches)[1].tolist()}
    assert seen == {(1, 1), (0, 0), (0, 1), (1, 0)}  # the last is mirrored


def test_mixed_batches_have_mixed_rows(motion_folder):
    """Each row is mixed with the one at the same place from the end."""
    names = ("turn left", "turn right")
    videos = Videos(read(motion_folder).paths[:3], LABELS, names, multi_label=True)
    clip = ClipConfig(frames=2, height=8, width=8, short_side=8)
    plain, mixed = (
        iter(clips(videos, clip, 3, train=True, augment=Augment(mixup=alpha)))
        for alpha in (0, 0.8)
    )
    shares = []
    for _ in range(4):
        (views, rows), (blended, labels) = next(plain), next(mixed)
        both = np.stack([rows.ravel(), rows[::-1].ravel()], -1)
        share, _ = np.linalg.lstsq(both, labels.ravel(), rcond=None)[0]
        expected = share * rows + (1 - share) * rows[::-1]
        np.testing.assert_allclose(labels, expected, atol=1e-5)
        blend = share * views + (1 - share) * views[::-1]
        assert np.abs(blended - blend).max() < 0.51
        assert labels.dtype == "float32"
        shares.append(share)
    assert len(set(shares)) == 4


def test_a_layer_of_keras_mixes_rows(motion_folder):
    import keras

    videos = Videos(read(motion_folder).paths[:2], LABELS[1:], ("x", "y"), (), True)
    clip = ClipConfig(frames=2, height=8, width=8, short_side=8)
    mixed = with_layer(clips(videos, clip, 2), keras.layers.MixUp(seed=1), 2)
    _, labels, _ = next(iter(mixed))
    np.testing.assert_allclose(labels[:, 0], 0, atol=1e-6)
    assert 0 < labels[0, 1] <= 1


def test_a_split_is_stratified_and_can_be_read_again(folder):
    names = [f"{number}.mp4" for number in range(40)]
    touch(folder, *names)
    rows = [(n % 2, n < 8) for n in range(40)]
    paths = tuple(str(folder / name) for name in names)
    videos = Videos(paths, rows, ("often, or", "rare"), multi_label=True)
    train, test = splits.split(videos, by="video", test=0.25)
    assert test.counts.tolist() == [5, 2] and train.counts.tolist() == [15, 6]
    splits.write_list(folder / "train.csv", train)
    assert read(folder / "train.csv") == train
    assert json.dumps(train.labels)


def test_classes_have_the_order_of_their_columns(folder):
    found = read(write(folder, "list.csv", DETECTED["split.csv"]))
    assert found.classes == ("run", "jump")
