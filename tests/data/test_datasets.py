"""The tests write a few lines of each published list, and its videos."""

import json
import logging
import uuid

import fsspec
import pytest
from harness import names, touch

from stzoo.data import motions
from stzoo.data.datasets import Videos, read


def test_names_in_two_normal_forms_are_one_class(tmp_path):
    touch(tmp_path, "cafe\u0301/a.mp4", "caf\xe9/b.mp4")
    videos = read(tmp_path)
    assert videos.classes == ("caf\xe9",) and videos.labels == (0, 0)
    assert read(tmp_path, classes=["cafe\u0301"]).classes == ("cafe\u0301",)
    (tmp_path / "list.csv").write_text(
        "cafe\u0301/a.mp4,caf\xe9\ncaf\xe9/b.mp4,cafe\u0301"
    )
    assert read(tmp_path / "list.csv").classes == ("caf\xe9",)
    touch(tmp_path, "e\u0301.mp4")
    (tmp_path / "list.csv").write_text("\xe9.mp4,run")
    assert len(read(tmp_path / "list.csv")) == 1


LISTS = {
    "comma.csv": "a.mp4,run\nb c.mp4,fly\n",
    "header.csv": "path,label\na.mp4,run\nb c.mp4,fly\n",
    "quoted.csv": 'label,video,length\nrun,"a.mp4",3\nfly,"b c.mp4",2\n',
    "split.csv": "path,label,split\na.mp4,run,val\nb c.mp4,fly,val\n",
    "semicolon.txt": "a.mp4;run\nb c.mp4;fly\n",
    "tab.tsv": "a.mp4\trun\nb c.mp4\tfly\n",
    "space.txt": "a.mp4 run\n\nb c.mp4   fly\n",
    "windows.txt": "\ufeffa.mp4 run\r\nb c.mp4 fly\r\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_lists(tmp_path, name):
    touch(tmp_path, "a.mp4", "b c.mp4")
    (tmp_path / name).write_text(LISTS[name], encoding="utf-8")
    videos = read(tmp_path / name)
    expected = Videos(
        (str(tmp_path / "a.mp4"), str(tmp_path / "b c.mp4")), (1, 0), ("fly", "run")
    )
    assert videos == expected
    (tmp_path / "labels.txt").write_text("run\nswim\nfly\n")
    videos = read(tmp_path / name, classes=tmp_path / "labels.txt")
    assert videos.labels == (0, 2) and videos.classes == ("run", "swim", "fly")


def test_lists_of_indices_and_of_paths_only(tmp_path):
    touch(tmp_path / "videos", "a.mp4", "b c.mp4")
    path = tmp_path / "list.txt"
    path.write_text("a.mp4 2\nb c.mp4 0\n")
    videos = read(path, root=tmp_path / "videos")
    assert videos.labels == (1, 0) and videos.classes == ("0", "2")
    assert names(videos, tmp_path) == ["videos/a.mp4", "videos/b c.mp4"]
    videos = read(path, root=tmp_path / "videos", classes=["x", "y", "z"])
    assert videos.labels == (2, 0) and videos.classes == ("x", "y", "z")
    with pytest.raises(ValueError, match="line 1: '2' is not one of the 2 classes"):
        read(path, root=tmp_path / "videos", classes=["x", "y"])
    path.write_text(f"{tmp_path}/videos/a.mp4\nvideos/b c.mp4\n")
    videos = read(path)
    assert names(videos, tmp_path) == ["videos/a.mp4", "videos/b c.mp4"]
    assert videos.labels == () and videos.classes == ()


@pytest.mark.parametrize(
    ("labels", "classes", "expected", "meaning"),
    [
        ("1 0 2", ("0", "1", "2"), (1, 0, 2), "The labels are the numbers 0 to 2."),
        ("1 3 2", ("1", "2", "3"), (0, 2, 1), "they are not consecutive"),
        ("7 1000000 7", ("7", "1000000"), (0, 1, 0), "they are not consecutive"),
        ("0 10 2", ("0", "2", "10"), (0, 2, 1), "they are not consecutive"),
        ("01 1 01", ("01", "1"), (0, 1, 0), "they are not consecutive"),
        ("x 1 2", ("1", "2", "x"), (2, 0, 1), "although there are numbers among them"),
        (f"{'9' * 5000} 0 1", ("0", "1", "9" * 5000), (2, 0, 1), "although"),
        ("x y z", ("x", "y", "z"), (0, 1, 2), "The labels are names."),
    ],
)
def test_numbers_are_indices_only_if_they_are_consecutive(
    tmp_path, caplog, labels, classes, expected, meaning
):
    touch(tmp_path, "0.mp4", "1.mp4", "2.mp4")
    rows = [f"{number}.mp4,{label}\n" for number, label in enumerate(labels.split())]
    (tmp_path / "list.csv").write_text("".join(rows))
    with caplog.at_level(logging.INFO, "stzoo"):
        videos = read(tmp_path / "list.csv")
    assert videos.classes == classes and videos.labels == expected
    assert caplog.messages[0].startswith(f"{tmp_path}/list.csv: 3 videos of ")
    assert meaning in caplog.text
    # A list that lacks a class is read with the classes of the training videos.
    (tmp_path / "list.csv").write_text(rows[2])
    videos = read(tmp_path / "list.csv", classes=classes)
    assert videos.classes == classes and videos.labels == expected[2:]


def test_numbers_are_indices_of_the_given_classes(tmp_path, caplog):
    touch(tmp_path, "a.mp4", "b.mp4")
    path = tmp_path / "list.csv"
    path.write_text("a.mp4,2\nb.mp4,2\n")
    with caplog.at_level(logging.INFO, "stzoo"):
        assert read(path, classes=["run", "fly", "swim"]).labels == (2, 2)
    assert "of 3 classes (2 of them without a video)" in caplog.text
    assert "The labels are the indices of the classes, from 0." in caplog.text
    (tmp_path / "classInd.txt").write_text("1 run\n2 fly\n3 swim\n")
    assert read(path, classes=tmp_path / "classInd.txt").labels == (1, 1)
    path.write_text("a.mp4,0\nb.mp4,02\n")
    assert read(path, classes=["run", "fly", "swim"]).labels == (0, 2)
    with pytest.raises(ValueError, match="'0' is not one of the 3 classes: 1, 2, 3"):
        read(path, classes=tmp_path / "classInd.txt")
    # Folders have the names 1, 2, 3, so 0 is not one of them.
    with pytest.raises(ValueError, match="'0' is not one of the 3 classes: 1, 2, 3"):
        read(path, classes=["1", "2", "3"])
    path.write_text("a.mp4,run\nb.mp4,2\n")
    with pytest.raises(
        ValueError, match="'2' is not one of the 3 classes: run, fly, swim"
    ):
        read(path, classes=["run", "fly", "swim"])


@pytest.mark.parametrize(
    "name",
    ["./x/a.mp4", "x//a.mp4", "x/../x/a.mp4", "y/../x/a.mp4", "x\\a.mp4", "link/a.mp4"],
)
def test_one_video_with_two_names_is_a_duplicate(tmp_path, name):
    touch(tmp_path, "x/a.mp4")
    (tmp_path / "link").symlink_to("x", target_is_directory=True)
    (tmp_path / "list.csv").write_text(f"{name},run\n")
    assert len(read(tmp_path / "list.csv")) == 1
    (tmp_path / "list.csv").write_text(f"x/a.mp4,run\n{name},run\n")
    with pytest.raises(ValueError, match="line 2: .* is already listed in .*line 1"):
        read(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_text(f"x/a.mp4,run\n{tmp_path}/x/a,run\n")
    with pytest.raises(ValueError, match="line 2: .* is already listed in .*line 1"):
        read(tmp_path / "list.csv")


def test_columns_and_splits(tmp_path):
    labels = motions.write(tmp_path, 6, seed=3)
    videos = read(labels, label="shape", classes=tmp_path / "shapes.txt")
    assert videos.classes == motions.SHAPES and len(videos) == 6
    told = [motions.SHAPES[label] for label in videos.labels]
    assert told == [
        line.rsplit(",", 1)[1] for line in labels.read_text().splitlines()[1:]
    ]
    with pytest.raises(ValueError, match="columns path, motion, shape.*label='motion'"):
        read(labels)
    with pytest.raises(ValueError, match="'colour'"):
        read(labels, label="colour")
    (tmp_path / "parts.csv").write_text(
        "path,label,split\n00000.mp4,a,train\n00001.mp4,b,test\n00002.mp4,a,test\n"
    )
    videos = read(tmp_path / "parts.csv", split="test")
    assert names(videos, tmp_path) == ["00001.mp4", "00002.mp4"]
    with pytest.raises(ValueError, match="no header that names a column"):
        (tmp_path / "bare.csv").write_text("00000.mp4,a\n")
        read(tmp_path / "bare.csv", label="shape")


def test_problems_are_reported_with_their_lines(tmp_path, caplog):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    path = tmp_path / "list.csv"
    path.write_text(
        "path,label\na.mp4,run\n\nlost.mp4,run\na.mp4,fly\nb.mp4,swim\nc.mp4,\n,run\n"
    )
    expected = (
        f"{path}, line 4: there is no video lost.mp4 in {tmp_path}",
        f"{path}, line 5: {tmp_path}/a.mp4 is already listed in {path}, line 2",
        f"{path}, line 6: 'swim' is not one of the 2 classes: run, fly",
        f"{path}, line 7: {tmp_path}/c.mp4 has no class",
        f"{path}, line 8: has no path: ', run'",
    )
    with pytest.raises(ValueError) as error:
        read(path, classes=["run", "fly"])
    message = str(error.value)
    assert message.startswith(f"{path}: 5 of 6 entries are wrong (1 missing, 1 dupli")
    assert all(line in message for line in expected) and "skip=True" in message
    with caplog.at_level(logging.WARNING, "stzoo"):
        videos = read(path, classes=["run", "fly"], skip=True)
    assert names(videos, tmp_path) == ["a.mp4"] and videos.labels == (0,)
    assert videos.skipped == expected
    assert "5 of 6 entries are wrong" in caplog.text
    path.write_text("".join(f"{number}.mp4 run\n" for number in range(30)))
    with pytest.raises(ValueError, match="(?s)30 missing.*line 10:.*\n  and 20 more"):
        read(path)
    with pytest.raises(FileNotFoundError, match="no folder .*elsewhere"):
        read(path, root=tmp_path / "elsewhere")


def test_files_that_are_not_lists_are_refused(tmp_path):
    for name, text, message in [
        ("empty.csv", "", "has no videos"),
        ("broken.json", '[{"id": "1"},\n{"id": ]', "line 2: this is not JSON"),
        ("numbers.json", "[1, 2]", "line 1: expected an object"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no file or folder .*nowhere.csv"):
        read(tmp_path / "nowhere.csv")
    touch(tmp_path, "a.mp4")
    with pytest.raises(ValueError, match="a.mp4 is a video. Pass a folder of videos"):
        read(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="must be one of list, rawframes.*'ava'"):
        read(tmp_path / "empty.csv", format="ava")


KINETICS = """label,youtube_id,time_start,time_end,split,is_cc
abseiling,-3B32lodo2M,59,69,val,0
"air drumming",_dbcJuKJQNs,40,50,val,0
abseiling,gone_from_yt,0,10,val,0
"""


@pytest.mark.parametrize("folder", ["abseiling/", "air_drumming/", ""])
def test_kinetics(tmp_path, folder):
    (tmp_path / "val.csv").write_text(KINETICS)
    flat = not folder
    first = f"{'' if flat else 'abseiling/'}-3B32lodo2M_000059_000069.mp4"
    space = "air drumming/" if folder == "abseiling/" else "air_drumming/"
    second = f"{'' if flat else space}_dbcJuKJQNs_000040_000050.mkv"
    touch(tmp_path / "videos", first, second)
    root = tmp_path / "videos"
    with pytest.raises(ValueError, match="val.csv, line 4: there is no video abseil"):
        read(tmp_path / "val.csv", root=root)
    videos = read(tmp_path / "val.csv", root=root, skip=True)
    assert names(videos, root) == [first, second] and videos.labels == (0, 1)
    assert videos.classes == ("abseiling", "air drumming")
    assert read(tmp_path / "val.csv", root=root, skip=True, split="val") == videos
    with pytest.raises(ValueError, match="has no videos"):
        read(tmp_path / "val.csv", root=root, skip=True, split="train")


def test_kinetics_test_list(tmp_path):
    (tmp_path / "test.csv").write_text(
        "youtube_id,time_start,time_end,split\n--6bJUbfpnQ,17,27,test\nx,,27,test\n"
    )
    touch(tmp_path, "--6bJUbfpnQ_000017_000027.mp4")
    videos = read(tmp_path / "test.csv", skip=True)
    assert videos.labels == () and len(videos) == 1
    assert "line 3: cannot be read: 'x, , 27, test'" in videos.skipped[0]


def test_moments_in_time(tmp_path):
    (tmp_path / "validationSet.csv").write_text(
        "yawning/flickr-2-5-7-8-1-1-5-1-25781151_56.mp4,yawning,3,0\n"
        "adult+female+singing/yt-5of6ffo6-Bw_205.mp4,adult+female+singing,2,1\n"
    )
    found = [
        "validation/yawning/flickr-2-5-7-8-1-1-5-1-25781151_56.mp4",
        "validation/adult+female+singing/yt-5of6ffo6-Bw_205.mp4",
    ]
    touch(tmp_path, *found)
    assert read(tmp_path / "validationSet.csv").labels == (1, 0)
    (tmp_path / "moments_categories.txt").write_text(
        "clapping,0\nyawning,1\nadult+female+singing,2\n"
    )
    videos = read(tmp_path / "validationSet.csv")
    assert names(videos, tmp_path) == found and videos.labels == (1, 2)
    assert videos.classes == ("clapping", "yawning", "adult+female+singing")


def test_ucf101(tmp_path):
    lists, root = tmp_path / "ucfTrainTestlist", tmp_path / "UCF-101"
    lists.mkdir()
    (lists / "classInd.txt").write_bytes(b"1 ApplyEyeMakeup\r\n2 Archery\r\n3 YoYo\r\n")
    (lists / "trainlist01.txt").write_bytes(
        b"ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\n"
        b"YoYo/v_YoYo_g25_c05.avi 3\r\n"
    )
    (lists / "testlist01.txt").write_bytes(b"Archery/v_Archery_g01_c01.avi\r\n")
    train = ["ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", "YoYo/v_YoYo_g25_c05.avi"]
    touch(root, *train, "Archery/v_Archery_g01_c01.avi")
    videos = read(lists / "trainlist01.txt", root=root)
    assert names(videos, root) == train and videos.labels == (0, 2)
    assert videos.classes == ("ApplyEyeMakeup", "Archery", "YoYo")
    videos = read(lists / "testlist01.txt", root=root)
    assert videos.labels == (1,) and videos.classes[1] == "Archery"
    (lists / "trainlist01.txt").write_bytes(b"YoYo/v_YoYo_g25_c05.avi 2\r\n")
    with pytest.raises(ValueError, match="line 1: 2 is not the number of YoYo"):
        read(lists / "trainlist01.txt", root=root)


def test_hmdb51(tmp_path):
    lists, root = tmp_path / "testTrainMulti_7030_splits", tmp_path / "hmdb51"
    lists.mkdir()
    brush = ["April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "b.avi", "brush_c.avi"]
    (lists / "brush_hair_test_split1.txt").write_text(
        f"{brush[0]} 1 \n{brush[1]} 0 \n{brush[2]} 2 \n"
    )
    (lists / "wave_test_split1.txt").write_text("#20_wave_u_nm_np1_fr_goo_0.avi 1 \n")
    (lists / "wave_test_split2.txt").write_text("#20_wave_u_nm_np1_fr_goo_0.avi 2 \n")
    touch(root, *[f"brush_hair/{name}" for name in brush])
    touch(root, "wave/#20_wave_u_nm_np1_fr_goo_0.avi")
    source = str(lists / "*_test_split1.txt")
    train = read(source, root=root, split="train")
    assert names(train, root) == [
        f"brush_hair/{brush[0]}",
        "wave/#20_wave_u_nm_np1_fr_goo_0.avi",
    ]
    assert train.labels == (0, 1) and train.classes == ("brush_hair", "wave")
    test = read(source, root=root, split="test", classes=train.classes)
    assert names(test, root) == ["brush_hair/brush_c.avi"]
    with pytest.raises(ValueError, match='HMDB51 needs split="train"'):
        read(source, root=root)
    with pytest.raises(FileNotFoundError, match="split3"):
        read(str(lists / "*_test_split3.txt"), root=root, split="train")


NUMBERED = {
    "something-something-v1": [
        "Holding something",
        "Something falling like a feather or paper",
        "Putting something, something and something on the table",
    ],
    "jester-v1": ["Doing other things", "Swiping Left", "Swiping Right"],
}


@pytest.mark.parametrize("name", NUMBERED)
def test_numbered_folders_of_frames(tmp_path, name):
    classes = NUMBERED[name]
    (tmp_path / f"{name}-labels.csv").write_text("\n".join(classes) + "\n")
    (tmp_path / f"{name}-train.csv").write_text(
        f"100218;{classes[1]}\n24413;{classes[2]}\n1;{classes[1]}\n"
    )
    (tmp_path / f"{name}-test.csv").write_text("24413\n1\n")
    root = tmp_path / f"20bn-{name}"
    touch(root, *[f"{n}/0000{i}.jpg" for n in (100218, 24413, 1) for i in (1, 2)])
    videos = read(tmp_path / f"{name}-train.csv", root=root)
    assert names(videos, root) == ["100218", "24413", "1"]
    assert videos.labels == (1, 2, 1) and videos.classes == tuple(classes)
    videos = read(tmp_path / f"{name}-test.csv", root=root)
    assert names(videos, root) == ["24413", "1"] and videos.labels == ()


def test_something_v2(tmp_path):
    labels = {
        "Approaching something with your camera": "0",
        "Holding something next to something": "1",
        "Putting something, something and something on the table": "2",
    }
    entries = [
        {
            "id": "78687",
            "label": "holding potato next to vicks vaporub bottle",
            "template": "Holding [something] next to [something]",
            "placeholders": ["potato", "vicks vaporub bottle"],
        },
        {
            "id": "42326",
            "label": "putting pen, cup and key on the table",
            "template": "Putting [something], [something] and [something] on the table",
            "placeholders": ["pen", "cup", "key"],
        },
    ]
    root = tmp_path / "20bn-something-something-v2"
    touch(root, "78687.webm", "42326.webm")
    for name, content in [
        ("something-something-v2-labels.json", labels),
        ("something-something-v2-train.json", entries),
        ("something-something-v2-test.json", [{"id": "42326"}, {"id": "1"}]),
    ]:
        (tmp_path / name).write_text(json.dumps(content, indent=0))
    videos = read(tmp_path / "something-something-v2-train.json", root=root)
    assert names(videos, root) == ["78687.webm", "42326.webm"]
    assert videos.labels == (1, 2) and videos.classes == tuple(labels)
    test = tmp_path / "something-something-v2-test.json"
    with pytest.raises(ValueError, match="test.json, line 5: there is no video 1 in"):
        read(test, root=root)
    assert read(test, root=root, skip=True).labels == ()


def test_diving48(tmp_path):
    entries = [
        {"vid_name": "_8Vy3dlHg2w_00000", "label": 1, "start_frame": 0, "end_frame": 9},
        {"vid_name": "2x00lRzlTVQ_00001", "label": 0, "start_frame": 3, "end_frame": 8},
    ]
    (tmp_path / "Diving48_V2_train.json").write_text(json.dumps(entries))
    touch(tmp_path / "rgb", "_8Vy3dlHg2w_00000.mp4", "2x00lRzlTVQ_00001.mp4")
    videos = read(tmp_path / "Diving48_V2_train.json", root=tmp_path / "rgb")
    assert videos.labels == (1, 0) and videos.classes == ("0", "1")
    vocabulary = [
        ["Back", "15som", "05Twis", "FREE"],
        ["Back", "15som", "NoTwis", "PIKE"],
    ]
    (tmp_path / "Diving48_vocab.json").write_text(json.dumps(vocabulary))
    videos = read(tmp_path / "Diving48_V2_train.json", root=tmp_path / "rgb")
    assert videos.labels == (1, 0) and names(videos, tmp_path) == [
        "rgb/_8Vy3dlHg2w_00000.mp4",
        "rgb/2x00lRzlTVQ_00001.mp4",
    ]
    assert videos.classes == ("Back 15som 05Twis FREE", "Back 15som NoTwis PIKE")


def test_urls():
    root = f"memory://{uuid.uuid4()}"
    for name in ("run/a.mp4", "fly/b.mp4", "fly/frames/00001.jpg"):
        with fsspec.open(f"{root}/{name}", "wb") as file:
            file.write(b"a video")
    videos = read(root)
    paths = (f"{root}/fly/b.mp4", f"{root}/fly/frames", f"{root}/run/a.mp4")
    assert videos == Videos(paths, (0, 0, 1), ("fly", "run"))
    with fsspec.open(f"{root}/list.csv", "w") as file:
        file.write("run/a.mp4,run\nfly/b.mp4,fly\nlost.mp4,fly\n")
    with pytest.raises(ValueError, match="list.csv, line 3: there is no video lost"):
        read(f"{root}/list.csv")
    videos = read(f"{root}/list.csv", skip=True)
    assert videos.paths == paths[2::-2] and videos.labels == (1, 0)
    with fsspec.open(f"{root}/list.csv", "w") as file:
        file.write("./run/a.mp4,run\nfly/../run//a.mp4,run\n")
    with pytest.raises(ValueError, match="1 of 2 entries are wrong .1 duplicate"):
        read(f"{root}/list.csv")
    with pytest.raises(FileNotFoundError):
        read("memory://nowhere")
