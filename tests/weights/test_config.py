"""The records survive a config.json and refuse what they cannot mean."""

import json
from importlib.metadata import PackageNotFoundError, version

import pytest

from stzoo.weights.config import RGB_MEAN, RGB_STD, ClipConfig, ModelConfig

FULL = ModelConfig(
    "cost_tiny",
    tag="motions",
    options={"variant": "b", "width": 16},
    classes=2,
    clip=ClipConfig(16, 2, 112, None, 128, (1.0, 2.0), (0.5, 3.0), "BGR", "segments"),
    labels=("läuft", "steht"),
    licence="Apache-2.0",
    source="https://example.org",
    reported={"top1": 74.1},
    measured={"top1": 0.0},
    sha256="0" * 64,
    base_model="hf://zoo/base@main",
    training={"recipe": "cost", "validation": {"accuracy": 0.5}},
)


@pytest.mark.parametrize("record", [FULL, ModelConfig("c2d_tiny")])
def test_a_record_survives_a_file(record):
    config = json.loads(json.dumps(record.to_config()))
    assert ModelConfig.from_config(config) == record


def test_what_is_the_zoos_own_is_not_in_a_file():
    entry = ModelConfig(
        "c2d_tiny", repository="timm/a", revision="b", allow_missing=("/alpha",)
    )
    config = entry.to_config()
    assert not config.keys() & {"repository", "revision", "allow_missing"}
    for name in ("repository", "revision", "allow_missing"):
        with pytest.raises(ValueError, match=f"unknown entries: {name}"):
            ModelConfig.from_config({**config, name: "a"})


def test_what_takes_flow():
    flow, both = ((128,) * 2, (1,) * 2), ((0, 0, 0, 128, 128), (1,) * 5)
    assert [ClipConfig(mean=m, std=s).uses_flow for m, s in (flow, both)] == [
        True,
        True,
    ]
    assert not ClipConfig().uses_flow
    assert ClipConfig(frames=None, snippet=10).snippet == 10


def test_names():
    assert FULL.name == "cost_tiny.motions"
    assert ModelConfig("c2d_tiny").name == "c2d_tiny"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"library": "timm"}, '"library": "stzoo"'),
        ({"builder": ""}, 'it has no "builder"'),
        ({"builder": None}, '"builder" must be of type str. Received: None'),
        ({"classes": True}, '"classes" must be of type int. Received: True'),
        ({"classes": 0, "labels": []}, "0 classes"),
        ({"labels": "ab"}, "\"labels\" must be of type list. Received: 'ab'"),
        ({"labels": [1, 2]}, '"labels" must be a list of strings'),
        ({"options": []}, '"options" must be of type dict'),
        ({"reported": 74.1}, '"reported" must be of type dict'),
        (
            {"clip": {"frames": True}},
            '"clip": ClipConfig: frames must be an integer',
        ),
        ({"clip": {"speed": 2}}, '"clip": .*speed'),
    ],
)
def test_a_config_that_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_config({**FULL.to_config(), **change})


def test_a_file_says_its_format_and_who_wrote_it():
    config = FULL.to_config()
    assert config["format"] == 1
    assert config["version"] == version("stzoo")
    del config["format"], config["version"]
    assert ModelConfig.from_config(config) == FULL


def test_several_labels_and_their_thresholds_are_recorded():
    """Versions that know one label a video refuse the format, and do not misread it."""
    config = ModelConfig(
        "tsm_tiny", classes=2, multi_label=True, thresholds=(0.25, 1.0)
    )
    written = config.to_config()
    assert written["format"] == 2 and written["thresholds"] == [0.25, 1.0]
    assert ModelConfig.from_json(json.dumps(written).encode()) == config
    plain = ModelConfig("tsm_tiny").to_config()
    assert not {"multi_label", "thresholds"} & plain.keys()
    for change, message in (
        ({"thresholds": [0.5]}, "2 classes, but 1 thresholds"),
        ({"multi_label": False}, 'for "multi_label" only'),
        ({"thresholds": [0.5, 2]}, "numbers from 0 to 1"),
        ({"thresholds": [0.5, "1"]}, "numbers from 0 to 1"),
        ({"thresholds": 0.5}, '"thresholds" must be of type list'),
        ({"multi_label": 1}, '"multi_label" must be of type bool'),
    ):
        with pytest.raises(ValueError, match=message):
            ModelConfig.from_config(written | change)


def test_a_checkout_that_is_not_installed_has_no_version(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("stzoo.weights.config.version", missing)
    config = FULL.to_config()
    assert config["version"] == "0"
    assert ModelConfig.from_config(config) == FULL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3, "version": "9.0", "new": 1}, "format 3, written by stzoo '9.0'"),
        ({"format": 3}, "pip install --upgrade stzoo"),
        ({"format": 0}, '"format" must be an integer, at least 1. Received: 0'),
        ({"format": "1"}, '"format" must be an integer, at least 1. Received: .1'),
        ({"format": True}, '"format" must be'),
        ({"version": "new"}, '"version" must be a version such as'),
        ({"version": 2}, '"version" must be a version such as'),
        ({"version": version("stzoo"), "colour": 1}, "unknown entries: colour"),
        ({"version": "0.0.1", "colour": 1}, "unknown entries: colour"),
        ({"clip": {"speed": 2}}, 'unknown entries of "clip": speed'),
    ],
)
def test_another_format_or_version(change, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_config({**FULL.to_config(), **change})


def test_what_a_newer_version_has_added_is_ignored_and_logged(caplog):
    config = FULL.to_config() | {"version": "9.1", "colour": "red"}
    assert ModelConfig.from_config(config) == FULL
    (record,) = caplog.records
    assert "newer stzoo wrote this config.json. Its entries colour" in record.message
    config = {**config, "clip": {**config["clip"], "speed": 2}}
    assert ModelConfig.from_config(config) == FULL
    assert 'entries of "clip" speed are ignored' in caplog.text


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('"tag": "a", "tag": "b"', "it has 'tag' twice"),
        ('"measured": {"top1": NaN}', "'NaN' is not a JSON number"),
        ('"measured": {"top1": -Infinity}', "'-Infinity' is not a JSON number"),
        ('"measured": {"top1": 1e999}', "'1e999' is not a JSON number"),
        ('"classes": 1' + "0" * 5000, "4300 digits"),
        ('"options": ' + "[" * 100_000, "nested too deeply"),
        ('"options": ' + '{"a":' * 100_000, "nested too deeply"),
        (f'"tag": "{"a" * 2**24}"', "more than 16777216 bytes"),
        (f'"tag": "{"a" * 101}"', '"tag" is too long'),
        (f'"builder": "{"a" * 101}"', '"builder" is too long'),
        (f'"{"a" * 100_000}": 1', "unknown entries: 'aaa"),
        (", ".join(f'"a{i}": 1' for i in range(9999)), "and 9993 more"),
        (f'"classes": "{"a" * 100_000}"', '"classes" must be of type int'),
        (f'"labels": {{"{"a" * 100_000}": 1}}', '"labels" must be of type list'),
        (f'"labels": ["a"], "classes": {"9" * 4000}', "classes, but 1 labels"),
        (f'"clip": {{"mean": [{",".join("1" * 100_000)}]}}', "at most 16"),
        (f'"clip": {{"order": "{"a" * 100_000}"}}', "order must be"),
        (f'"clip": {{"flow": [{"[" * 200}{"]" * 200}]}}', "flow must be"),
        (f'"clip": {{"frames": {"9" * 4000}}}', "frames must be"),
        (f'"version": "{"9" * 100_000}x"', '"version" must be'),
    ],
)
def test_errors_of_hostile_files_are_short(entry, message):
    start = "" if '"builder"' in entry else '"builder": "c2d_tiny", '
    with pytest.raises(ValueError, match=message) as info:
        ModelConfig.from_json(f'{{"library": "stzoo", {start}{entry}}}'.encode())
    assert len(str(info.value)) < 500


@pytest.mark.parametrize("config", [None, [], "stzoo", {}])
def test_what_is_no_config(config):
    with pytest.raises(ValueError, match='"library": "stzoo"'):
        ModelConfig.from_config(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": "RBG"}, 'order must be "RGB" or "BGR". Received: .RBG'),
        ({"order": ["RGB"]}, "order must be"),
        ({"sampling": "sparse"}, 'sampling must be "dense" or "segments"'),
        ({"frames": 0}, r"frames must be an integer from 1 to \d+. Received: 0"),
        ({"stride": None}, r"stride must be an integer from 1 to .*Received: None"),
        (
            {"height": 224.0},
            r"height must be an integer from 1 to .*Received: 224.0",
        ),
        ({"short_side": "256"}, "short_side must be an integer"),
        ({"mean": (1, 2)}, "one number for each of"),
        ({"std": (1, 0, 1)}, "std must be positive"),
        ({"mean": (), "std": ()}, "one number for each of"),
        ({"mean": "123"}, "mean must be a tuple of numbers. Received: '123'"),
        ({"std": (1, 1, float("nan"))}, "std must be a tuple of numbers"),
        ({"mean": 127.5}, "mean must be a tuple of numbers"),
        ({"mean": (1,) * 17, "std": (1,) * 17}, "at most 16 channels, and std must be"),
        ({"frames": 10**9}, "frames must be an integer from 1 to 4096"),
        ({"stride": 10**9}, "stride must be an integer from 1 to"),
        ({"height": 10**9}, "height must be an integer from 1 to 8192"),
        ({"width": 10**9}, "width must be an integer from 1 to 8192"),
        ({"short_side": 10**9}, "short_side must be an integer from 1 to 8192"),
        ({"frames": 129, "height": 2048, "width": 1024}, "x width must be at most 268"),
        ({"snippet": 0}, "snippet must be an integer from 1"),
        ({"frames": 25, "snippet": 10}, "multiple of snippet=10. Received: 25"),
        ({"flow": "farneback"}, 'flow must be "dis" or "tvl1". Received: .farneback'),
    ],
)
def test_a_clip_that_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ClipConfig(**change)


def test_the_shape_of_a_clip():
    assert ClipConfig().shape == (8, 224, 224, 3)
    assert ClipConfig(frames=None, height=None, width=None).shape == (
        None,
        None,
        None,
        3,
    )
    assert ClipConfig(mean=RGB_MEAN[:2], std=RGB_STD[:2]).shape == (8, 224, 224, 2)


@pytest.mark.parametrize(
    ("shape", "short_side"),
    [
        ((32, 224, 224, 3), 256),
        ((8, 112, 112, 3), 128),
        ((8, 112, 224, 3), 224),  # the crop is wider than what is left of the frame
        ((8, 256, 256, 3), 293),
        ((8, None, None, 3), 256),
    ],
)
def test_the_frame_is_scaled_with_the_crop(shape, short_side):
    clip = ClipConfig().resized(shape)
    assert clip.shape == shape
    assert clip.short_side == short_side


def test_a_clip_keeps_its_channels():
    with pytest.raises(ValueError, match="2 channels, but the model has 3"):
        ClipConfig().resized((8, 224, 224, 2))


@pytest.mark.parametrize("size", [0, -1, 64.0, 64.5, "a", True, [64]], ids=repr)
@pytest.mark.parametrize("place", ["frames", "height", "width"])
def test_a_size_that_is_none_is_named(place, size):
    shape = {"frames": 8, "height": 64, "width": 64, "channels": 3} | {place: size}
    with pytest.raises(ValueError, match=f"{place} must be an integer from 1"):
        ClipConfig().resized(tuple(shape.values()))
