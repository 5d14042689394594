"""The names of classes, against indices that their data sets and checkpoints state."""

import pytest

import stzoo
from stzoo.weights import labels
from stzoo.zoo import ENTRIES

COUNTS = {
    **{"kinetics400": 400, "something_v1": 174, "something_v2": 174, "jester": 27},
    "something_v1_official": 174,
    **{"ucf101": 101, "hmdb51": 51, "diving48": 48, "moments_in_time": 339},
    **{"activitynet": 200, "imagenet": 1000},
}
# From the lists of mmaction2, of the data sets themselves, and of ILSVRC2012.
KNOWN = {
    "kinetics400": {0: "abseiling", 217: "playing accordion", 399: "zumba"},
    "something_v1": {0: "Approaching something with your camera"},
    "something_v1_official": {
        0: "Holding something",
        173: "Poking a hole into some substance",
    },
    "something_v2": {
        0: "Approaching something with your camera",
        173: "Wiping something off of something",
    },
    "jester": {0: "Swiping Left", 2: "Swiping Down"},
    "ucf101": {0: "ApplyEyeMakeup", 100: "YoYo", 41: "HorseRiding"},
    "hmdb51": {0: "brush_hair", 50: "wave"},
    "diving48": {0: "Back+15som+05Twis+FREE", 24: "Forward+25som+NoTwis+PIKE"},
    "moments_in_time": {0: "clapping"},
    "activitynet": {0: "Applying sunscreen"},
    "imagenet": {
        **{0: "tench", 207: "golden retriever", 999: "toilet tissue"},
        **{134: "crane (bird)", 517: "crane (machine)"},
    },
}


@pytest.mark.parametrize("dataset", COUNTS)
def test_names_at_known_indices(dataset):
    names = labels.names(dataset)
    assert len(names) == len(set(names)) == COUNTS[dataset]
    assert {index: names[index] for index in KNOWN[dataset]} == KNOWN[dataset]
    assert all(name == name.strip() != "" for name in names)


def test_names_that_are_not_known():
    with pytest.raises(ValueError, match="data set 'sports1m'. .* activitynet, "):
        labels.names("sports1m")


def test_every_entry_has_the_names_of_its_data_set():
    for entry in ENTRIES.values():
        tag = entry.tag
        if tag == "motions":  # the shipped files have those
            assert (entry.dataset, entry.labels) == ("motions", ())
        elif entry.new_head:  # the names would be those of the file, not of the head
            known = ((), labels.names("imagenet"), labels.names("ucf101"))
            assert entry.labels in known
        elif tag.startswith("sports1m"):
            assert (entry.classes, entry.labels) == (487, ())
        else:
            assert f"{tag}_".startswith(f"{entry.dataset}_")
            assert sorted(entry.labels) == sorted(labels.names(entry.dataset))
            assert entry.classes == len(entry.labels)


def test_the_two_orders_of_jester():
    """TSM's and GSM's scripts sort the names, and CSTM descends from them."""
    found = ENTRIES["cstm_bninception.jester"].labels
    assert found[:2] == ("Doing other things", "Drumming Fingers")
    assert list(found) == sorted(labels.names("jester"))
    for name, entry in ENTRIES.items():
        if entry.dataset == "something_v1" and entry.source != "mmaction2":
            assert list(entry.labels) == sorted(entry.labels), name


def test_the_two_orders_of_something_v1():
    """The pairs that mmaction2 exchanges in its mirrored videos have these indices."""
    official = labels.names("something_v1_official")
    assert sorted(official) == sorted(labels.names("something_v1"))
    assert official[0] == "Holding something"
    for left, right in ((2, 4), (41, 30), (52, 66)):
        if left == 2:
            assert official[left].replace("left", "right") == official[right]
        else:
            assert official[left].endswith("from right to left")
            assert official[right].endswith("from left to right")


def test_names_go_with_the_head(tmp_path):
    model = stzoo.cost_tiny(pretrained="motions")
    assert model.stzoo.dataset == "motions"
    assert model.stzoo.class_names == model.stzoo.labels
    stzoo.save(model, tmp_path / "same")
    assert stzoo.load(tmp_path / "same").stzoo.dataset == "motions"
    other = stzoo.cost_tiny(pretrained="motions", classes=3)
    assert (other.stzoo.dataset, other.stzoo.labels) == ("", ())
    assert other.stzoo.class_names == ("class 0", "class 1", "class 2")
