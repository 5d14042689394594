"""Weights on disk and on the Hub: whole and right, or one clear error."""

import dataclasses
import hashlib
import json
import os
import re
import threading
import tracemalloc

import keras
import numpy as np
import pytest
from references import logits, reference_resnet
from safetensors.numpy import load, save
from safetensors.torch import save as save_torch

import stzoo
from stzoo import writer
from stzoo.models import cost
from stzoo.weights import checkpoint
from stzoo.weights.card import CARD
from stzoo.weights.config import ModelConfig
from stzoo.weights.hub import CONFIG, WEIGHTS

TINY = {"width": 4, "depths": (1, 1), "input_shape": (2, 32, 32, 3)}
WHERE = "hf://zoo/model"


def clips(frames=2, size=32, batch=2):
    shape = (batch, frames, size, size, 3)
    return np.random.default_rng(1).integers(0, 256, shape, "uint8")


def answers(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def assert_same_weights(model, other):
    for variable, twin in zip(model.weights, other.weights, strict=True):
        assert variable.path == twin.path
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(variable.value),
            keras.ops.convert_to_numpy(twin.value),
        )


@pytest.fixture(scope="module")
def model():
    """A model whose every weight and statistic is at random."""
    model = stzoo.cost_tiny(classes=5, **TINY)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.uniform(0.1, 0.9, variable.shape))
    return model


@pytest.fixture
def folder(model, tmp_path):
    stzoo.save(model, tmp_path / "model", labels="abcde", tag="mine", licence="MIT")
    return tmp_path / "model"


@pytest.fixture
def served(hub, folder):
    """The folder as a repository of the Hub."""
    hub.repositories["zoo/model"] = files(folder)
    return hub


def files(folder):
    return {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}


def change(where, config=None, tensors=None, weights=None, sha256=True):
    """Changes a file of a folder or repository; by default the hash is made to fit.

    Args:
        where: dict from file name to bytes.
        config: function that changes the values of config.json.
        tensors: function that changes the dict of tensors.
        weights: function from the bytes of the file of weights to others.
        sha256: bool, whether config.json says the right hash.
    """
    if tensors:
        named = {
            name: np.array(tensor) for name, tensor in load(where[WEIGHTS]).items()
        }
        tensors(named)
        where[WEIGHTS] = save(named)
    if weights:
        where[WEIGHTS] = weights(where[WEIGHTS])
    values = json.loads(where[CONFIG])
    if sha256:
        values["sha256"] = hashlib.sha256(where[WEIGHTS]).hexdigest()
    if config:
        config(values)
    where[CONFIG] = json.dumps(values).encode()


def test_a_saved_model_answers_alike(model, folder):
    loaded = stzoo.load(folder)
    assert loaded.stzoo.labels == tuple("abcde")
    assert loaded.stzoo.name == "cost_tiny.mine"
    assert loaded.stzoo.licence == "MIT"
    assert loaded.stzoo.options == model.stzoo.options
    assert loaded.stzoo.clip == model.stzoo.clip
    np.testing.assert_array_equal(answers(loaded, clips()), answers(model, clips()))


def test_a_folder_is_what_the_hub_has(model, served):
    loaded = stzoo.load(WHERE)
    assert_same_weights(loaded, model)
    served.close()  # and then the cache serves
    again = stzoo.cost_tiny(pretrained=WHERE, width=4, depths=(1, 1))
    assert_same_weights(again, model)


def test_a_revision_of_the_hub(served):
    served.revisions = {"v1"}
    assert stzoo.load(WHERE + "@v1").stzoo.tag == "mine"
    with pytest.raises(FileNotFoundError, match="zoo/model@main/config.json"):
        stzoo.load(WHERE)


def test_keys_are_the_paths_of_variables(model, folder):
    assert load((folder / WEIGHTS).read_bytes()).keys() == {
        variable.path for variable in model.weights
    }


def test_another_size_and_another_head(folder, caplog):
    loaded = stzoo.load(folder, classes=7, input_shape=(4, 64, 48, 3))
    assert loaded.input_shape == (None, 4, 64, 48, 3)
    assert loaded.output_shape == (None, 7)
    assert loaded.stzoo.labels == ()
    assert loaded.stzoo.classes == 7
    assert [r.name for r in caplog.records] == ["stzoo"]
    assert "5 classes, so the head of this model is random" in caplog.text
    kernel = load((folder / WEIGHTS).read_bytes())["layer2_0_conv2/kernel"]
    found = loaded.get_layer("layer2_0_conv2").get_weights()[0]
    np.testing.assert_array_equal(found, kernel)
    stzoo.save(loaded, folder)
    assert stzoo.load(folder).output_shape == (None, 7)


def test_float16_files(tmp_path):
    model, folder = stzoo.cost_tiny(**TINY | {"width": 8}), tmp_path / "model"
    stzoo.save(model, folder)
    size = (folder / WEIGHTS).stat().st_size
    stzoo.save(model, folder, dtype="float16")
    assert (folder / WEIGHTS).stat().st_size < 0.6 * size
    for variable, twin in zip(stzoo.load(folder).weights, model.weights, strict=True):
        exact = keras.ops.convert_to_numpy(twin.value)
        found = keras.ops.convert_to_numpy(variable.value)
        np.testing.assert_array_equal(found, exact.astype("float16"))


def test_what_float16_cannot_hold_stays_exact(model, folder):
    large = np.full(4, 1e6, "float32")
    layer = model.get_layer("bn1")
    before = layer.get_weights()
    layer.set_weights([*before[:3], large])
    try:
        stzoo.save(model, folder, dtype="float16")
        loaded = stzoo.load(folder)
    finally:
        layer.set_weights(before)
    variance = loaded.get_layer("bn1").get_weights()[3]
    np.testing.assert_array_equal(variance, large)


def test_the_names_of_folders(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/me@home", "läuft gut", "imagenet.1"):
        stzoo.save(model, name)
        assert checkpoint.read(name).config.classes == 5
        assert checkpoint.resolve_weights("cost_tiny", name, ()).config.classes == 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (b"not JSON", "Expecting value"),
        (b"", "Expecting value"),
        (b"\xff\xfe", "codec can't decode"),
        (b"[" * 100_000, "recursion"),
        (b"[]", '"library": "stzoo"'),
        (b'{"library": "transformers"}', '"library": "stzoo"'),
        (b'{"library": "stzoo"}', '"builder"'),
        ({"builder": "os.system"}, "builder 'os.system' is not one of .*cost_tiny"),
        ({"builder": 5}, '"builder" must be of type str. Received: 5'),
        ({"new": ["kernel"]}, "unknown entries: new"),
        ({"colour": "red"}, "unknown entries: colour"),
        ({"classes": "5"}, "\"classes\" must be of type int. Received: '5'"),
        ({"labels": ["a"]}, "5 classes, but 1 labels"),
        ({"clip": {"frames": "2"}}, '"clip": .*frames must be an integer'),
        ({"clip": {"hertz": 25}}, 'entries of "clip": hertz'),
        ({"clip": {"fps": "25"}}, '"clip": .*fps must be None, or a positive'),
        ({"clip": {"sample_fps": 0}}, '"clip": .*sample_fps must be None, or a pos'),
        ({"clip": {"mean": "123"}}, '"clip": .*mean must be a tuple of numbers'),
        ({"options": {"depth": 50}}, "cost_tiny has no option depth. Its .*width"),
        ({"options": {"width": "4"}}, "option width must have the type of 16"),
        ({"options": {"depths": [1, "1"]}}, "option depths must have the type of"),
        ({"options": {"depths": 1}}, "option depths must have the type of"),
    ],
)
def test_a_config_that_is_wrong(served, changed, message):
    repository = served.repositories["zoo/model"]
    right = repository[CONFIG]
    if isinstance(changed, dict):
        changed = json.dumps({**json.loads(right), **changed}).encode()
    repository[CONFIG] = changed
    with pytest.raises(ValueError, match=f"{WHERE}/{CONFIG}: (?s:.*)({message})"):
        stzoo.load(WHERE)
    assert served.fetched(WEIGHTS) == 0
    repository[CONFIG] = right
    assert checkpoint.read(WHERE).config.classes == 5


@pytest.mark.parametrize(
    ("builder", "option"),
    [
        ("cost_tiny", {"variant": "c"}),
        ("c3d_tiny", {"kernel": "5x5x5"}),
        ("c2d_tiny", {"pooling": "none"}),
    ],
)
def test_options_that_do_not_fit(folder, builder, option):
    where = files(folder)
    values = json.loads(where[CONFIG])
    values |= {"builder": builder, "options": option}
    (folder / CONFIG).write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"{CONFIG}: {[*option][0]} must be one of"):
        stzoo.load(folder)


def cut(data):
    return data[: len(data) // 2]


def without(name):
    return lambda tensors: tensors.pop(name)


def put(name, tensor):
    return lambda tensors: tensors.update({name: np.asarray(tensor, "float32")})


def spoil(value):
    def change(tensors):
        tensors["layer1_0_bn1/moving_mean"][1] = value

    return change


def swap(tensors):
    tensors["bn1/gamma"] = tensors["bn1/gamma"].astype("int32")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": cut}, "not a safetensors file, or it is incomplete"),
        ({"weights": cut, "sha256": False}, "sha256 is .*, but config.json has"),
        ({"weights": lambda data: b""}, "not a safetensors file, or it is incomplete"),
        (
            {"weights": lambda data: b"<html>"},
            "not a safetensors file, or it is incomplete",
        ),
        ({"weights": lambda data: data.replace(b"F32", b"BF1", 1)}, "incomplete"),
        ({"config": lambda v: v.update(sha256="0" * 64)}, "sha256 is .* damaged"),
        (
            {"config": lambda v: v.update(sha256="a" * 10**5)},
            "but config.json has 'aaa.* damaged",
        ),
        ({"tensors": without("fc/kernel")}, "Missing: fc/kernel"),
        ({"tensors": put("a" * 10**5, 0)}, "Not in the model: 'aaaa"),
        (
            {"tensors": put("bn1/beta", np.ones([1] * 30))},
            r"shape \(1, 1, .*\.\.\.\), but the model",
        ),
        ({"tensors": without("conv1/kernel")}, "Missing: conv1/kernel. .*model: none"),
        ({"tensors": without("fc/bias")}, "Missing: fc/bias"),
        ({"tensors": put("extra/bias", 0)}, "Missing: none. Not in .*: extra/bias"),
        ({"tensors": put("bn1/beta", [0] * 5)}, r"bn1/beta .* \(5,\), .* needs \(4,\)"),
        ({"tensors": put("bn1/beta", 0)}, r"bn1/beta has the shape \(\)"),
        ({"tensors": spoil(np.nan)}, "layer1_0_bn1/moving_mean contains NaN"),
        ({"tensors": spoil(-np.inf)}, "layer1_0_bn1/moving_mean contains NaN or infin"),
        ({"tensors": swap}, "bn1/gamma has the type int32, not floats"),
        ({"config": lambda v: v.update(classes=6, labels=[])}, "Missing: .*fc|fc/"),
    ],
)
def test_weights_that_are_wrong(served, changes, message, model):
    repository = served.repositories["zoo/model"]
    right = dict(repository)
    change(repository, **changes)
    found = f"{WHERE}/{WEIGHTS}: (?s:.*)({message})(?s:.*)The cache was not changed"
    with pytest.raises(ValueError, match=found) as info:
        stzoo.load(WHERE)
    assert len(str(info.value)) < 1300
    assert len(blobs(served)) == 2
    repository.update(right)
    tensors = checkpoint.read_tensors(checkpoint.read(WHERE))
    assert tensors.keys() == {variable.path for variable in model.weights}


def blobs(served):
    """What the cache holds of the repository, by name."""
    paths = (served.cache / "models--zoo--model" / "blobs").iterdir()
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def flip(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def test_what_was_damaged_on_its_way_is_fetched_again(served, model):
    repository = served.repositories["zoo/model"]
    right = served.stated[WEIGHTS] = repository[WEIGHTS]
    repository[WEIGHTS] = flip(right)
    with pytest.raises(
        ValueError, match="sha256 is (?s:.*)removed from the cache. The"
    ):
        stzoo.load(WHERE)
    repository[WEIGHTS] = right  # under the same name, commit and ETag
    assert_same_weights(stzoo.load(WHERE), model)


@pytest.mark.parametrize("filename", [CONFIG, WEIGHTS])
def test_what_was_damaged_in_the_cache_is_fetched_again(served, filename, model):
    path = checkpoint.hub.fetch(WHERE, filename)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        ValueError, match="damaged file was removed (?s:.*)next call downl"
    ):
        stzoo.load(WHERE)
    assert_same_weights(stzoo.load(WHERE), model)


@pytest.mark.parametrize(
    "change",
    [{"colour": "red"}, {"format": 3}, {"sha256": "0" * 64}, {"options": {"a": 1}}],
)
def test_an_error_deletes_nothing_of_the_cache(served, change, monkeypatch):
    repository = served.repositories["zoo/model"]
    repository[CONFIG] = json.dumps({**json.loads(repository[CONFIG]), **change})
    repository[CONFIG] = repository[CONFIG].encode()
    checkpoint.hub.fetch(WHERE, WEIGHTS)
    checkpoint.hub.fetch(WHERE, CONFIG)
    before = blobs(served)
    for is_offline in (False, True):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", is_offline)
        with pytest.raises(ValueError, match="The cache was not changed"):
            stzoo.load(WHERE)
        assert blobs(served) == before


def test_damaged_files_stay_offline(served, monkeypatch):
    path = checkpoint.hub.fetch(WHERE, WEIGHTS)
    checkpoint.hub.fetch(WHERE, CONFIG)
    path.write_bytes(b"damaged")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="sha256 is (?s:.*)The cache was not changed"):
        stzoo.load(WHERE)
    assert path.read_bytes() == b"damaged"


def test_a_folder_without_a_hash_says_so_once(folder, caplog):
    change_folder(folder, config=lambda values: values.pop("sha256"))
    stzoo.load(folder)
    assert [r.message for r in caplog.records] == [
        f"{folder}: config.json has no sha256, so damaged weights may not be detected. "
        "`stzoo.save` writes the sha256."
    ]


def test_the_hub_states_a_hash_where_the_config_does_not(served, caplog):
    change(served.repositories["zoo/model"], config=lambda v: v.pop("sha256"))
    stzoo.load(WHERE)
    assert not caplog.records
    path = checkpoint.hub.fetch(WHERE, WEIGHTS)
    path.write_bytes(flip(path.read_bytes()))
    with pytest.raises(ValueError, match="sha256 is (?s:.*)removed from the cache"):
        stzoo.load(WHERE)


@pytest.mark.parametrize("after", range(4))
def test_a_save_that_was_killed_leaves_one_of_two_models(model, folder, after):
    old = files(folder)
    stzoo.save(model, folder, labels="vwxyz", dtype="float16")
    new = files(folder)
    for name, data in old.items():
        (folder / name).write_bytes(data)
    left = folder / (writer.WHOLE if after else writer.NEW)
    left.mkdir()
    for name, data in new.items():
        (left / name).write_bytes(data)
    for name in [CONFIG, WEIGHTS][: max(0, after - 1)]:
        (left / name).replace(folder / name)
    assert stzoo.load(folder).stzoo.labels == tuple("vwxyz" if after else "abcde")
    assert files(folder) == (new if after else old)
    stzoo.save(model, folder, labels="klmno")
    assert stzoo.load(folder).stzoo.labels == tuple("klmno")
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS, CARD}


def test_two_writers_and_a_reader(model, tmp_path):
    other = stzoo.cost_tiny(classes=3, **TINY)

    def save(model):
        for _ in range(25):
            stzoo.save(model, tmp_path)

    stzoo.save(model, tmp_path)
    threads = [threading.Thread(target=save, args=(m,)) for m in (model, other)]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        source = checkpoint.read(tmp_path)
        tensors = checkpoint.read_tensors(source)
        assert tensors["fc/bias"].shape == (source.config.classes,)
        seen.add(source.config.classes)
    assert seen == {3, 5}
    assert stzoo.load(tmp_path).stzoo.classes in (3, 5)
    assert {path.name for path in tmp_path.iterdir()} == {CONFIG, WEIGHTS, CARD}


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_files_that_differ_while_they_are_read_are_read_again(
    folder, monkeypatch, name
):
    """As if another save came between the two files, and then another one."""
    right = files(folder)
    reads = []

    def read(folder, filename):
        reads.append(filename)
        wrong = filename == name and reads.count(name) < 3
        return (
            b'{"library": "stzoo", "builder": "a", "sha256": "0"}'
            if wrong
            else (right[filename])
        )

    monkeypatch.setattr(writer, "read", read)
    assert stzoo.load(folder).stzoo.classes == 5


BIG = 10**9


@pytest.mark.parametrize(
    "changed",
    [
        {"classes": BIG, "labels": []},
        {"options": {"width": 4, "depths": [BIG, 1, 1, 1]}},
        {"options": {"width": 4, "depths": [1, 1, 1, BIG]}},
        {"options": {"width": 4, "depths": [40, 1, 1, 1]}},
        {"options": {"width": 4, "depths": [1] * 10**5}},
        {"options": {"width": 4, "depths": []}},
        {"options": {"width": 4, "depths": [0, 0, 0, 0]}},
        {"options": {"width": 4, "depths": [-1, 1]}},
        {"options": {"width": BIG, "depths": [1, 1]}},
        {"options": {"width": 1000, "depths": [1, 1]}},
        {"options": {"width": 0, "depths": [1, 1]}},
        {"options": {"width": -4, "depths": [1, 1]}},
        {"options": {"width": 4, "depths": [1, 1], "variant": "a" * 10**5}},
        {"options": {"width": 4, "depths": [1, 1], "a" * 10**5: 1}},
        {"options": {"width": "a" * 10**5}},
        {"options": {f"a{i}": 1 for i in range(9999)}},
        {"builder": "stpn_tiny", "options": {"dim": BIG}},
        {"builder": "stpn_tiny", "options": {"hidden": BIG}},
        {"builder": "stpn_tiny", "options": {"length": BIG}},
        {"builder": "cstm_tiny", "options": {"kernel_size": [BIG + 1] * 3}},
        {"builder": "cstm_tiny", "options": {"kernel_size": [3] * 99}},
        {"builder": "cstm_tiny", "options": {"reduction": BIG}},
        {"builder": "cstm_tiny", "options": {"reduction": 0}},
        {"builder": "cstm_tiny", "options": {"depth": BIG}},
        {"builder": "p3d_resnet152"},
        {"fused": True, "options": {"width": 1000, "depths": [1, 1]}},
    ],
)
def test_what_a_config_claims_is_compared_with_its_weights(folder, changed):
    change_folder(folder, config=lambda values: values.update(changed))
    before = files(folder)
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"^{re.escape(str(folder))}") as info:
        stzoo.load(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6
    assert len(str(info.value)) < 1300
    assert files(folder) == before


def test_a_new_head_may_be_larger_than_the_file(folder):
    assert stzoo.load(folder, classes=20_000).output_shape == (None, 20_000)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"blocks": "Z"}, "config.json: blocks must be one of .*Received: 'Z'. Copy"),
        ({"blocks": ["A"]}, "config.json: blocks must be one of"),
        ({"modality": {"a": 1}}, "config.json: modality must be one of"),
        ({"semantics": "a" * 10**5}, "config.json: semantics must be one of"),
        ({"width": "a" * 10**5}, "made with width='aaa.* but .* width=4. Pass"),
        ({"a" * 10**5: 1}, "made with aaa.*=1, but .*=None. Pass"),
    ],
)
def test_options_that_a_builder_takes_from_the_weights(tmp_path, changed, message):
    small = {"width": 4, "depths": (1, 1)}
    stzoo.save(stzoo.p3d_tiny(input_shape=(16, 32, 32, 3), **small), tmp_path)
    change_folder(tmp_path, config=lambda values: values["options"].update(changed))
    with pytest.raises(ValueError, match=message) as info:
        stzoo.p3d_tiny(pretrained=tmp_path, **small)
    assert len(str(info.value)) < 500


def test_a_name_that_cannot_be_is_not_the_fault_of_the_folder(folder):
    with pytest.raises(ValueError, match="/") as info:
        stzoo.load(folder, name="a/b")
    assert CONFIG not in str(info.value)


def test_more_tensors_than_any_model_has(folder, monkeypatch):
    monkeypatch.setattr(checkpoint, "TENSORS", 20)
    with pytest.raises(ValueError, match="model.safetensors: it has .* tensors"):
        stzoo.load(folder)


def change_folder(folder, **changes):
    """As `change`, for a folder."""
    where = files(folder)
    change(where, **changes)
    for name, data in where.items():
        (folder / name).write_bytes(data)


def test_a_folder_that_is_wrong_stays_as_it_is(folder):
    where = files(folder)
    change(where, weights=cut)
    for name, data in where.items():
        (folder / name).write_bytes(data)
    with pytest.raises(ValueError, match="model/model.safetensors: .*save it again"):
        stzoo.load(folder)
    assert files(folder) == where
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors is missing"):
        stzoo.load(folder)
    with pytest.raises(FileNotFoundError, match="nowhere.config.json is missing"):
        stzoo.load(folder / "nowhere")


def test_a_connection_that_is_always_cut(served):
    served.cut[WEIGHTS] = 1000
    with pytest.raises(ConnectionError, match="hf://zoo/model@main/model.safetensors"):
        stzoo.load(WHERE)
    served.cut.clear()
    assert stzoo.load(WHERE).stzoo.classes == 5


def test_nothing_is_loaded_before_all_is_checked(model, folder):
    saved = files(folder)
    where = dict(saved)
    change(where, tensors=spoil(np.nan))
    (folder / WEIGHTS).write_bytes(where[WEIGHTS])
    (folder / CONFIG).write_bytes(where[CONFIG])
    source = checkpoint.read(folder)
    with pytest.raises(ValueError, match="NaN"):
        checkpoint.load_weights(model, source, checkpoint.read_tensors(source))
    for name, data in saved.items():
        (folder / name).write_bytes(data)
    assert_same_weights(stzoo.load(folder), model)


def test_weights_of_another_builder_or_option(folder):
    with pytest.raises(ValueError, match="model has weights of cost_tiny, not of c2d"):
        stzoo.c2d_tiny(pretrained=folder)
    with pytest.raises(ValueError, match="with variant='b'.*has variant='a'"):
        stzoo.cost_tiny(pretrained=folder, variant="a", **TINY)
    with pytest.raises(ValueError, match="with depths=.*Pass the former"):
        stzoo.cost_tiny(pretrained=folder, width=4)


@pytest.mark.parametrize(
    ("pretrained", "message"),
    [
        ("imagnet", "'imagnet' is not a tag of c2d_resnet50 .tags: 'imagenet', 'kin"),
        (3, "pretrained=3 is not a tag"),
        (["imagenet"], "is not a tag"),
        ("runs/none", "not an existing folder"),
    ],
)
def test_what_pretrained_cannot_be(pretrained, message):
    with pytest.raises(ValueError, match=message):
        stzoo.c2d_resnet50(pretrained=pretrained)


def test_a_builder_without_weights():
    with pytest.raises(ValueError, match="True is not a tag of c2d_tiny .tags: none"):
        stzoo.c2d_tiny(pretrained=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 0}, "classes must be an integer, at least 1. Received: 0"),
        ({"classes": "5"}, "classes must be an integer, at least 1. Received: .5."),
        (
            {"input_shape": (8, 64, 64)},
            r"input_shape must be \(frames, .* Received: \(8, 64, 64\)",
        ),
        ({"input_shape": 8}, "input_shape must be"),
        ({"input_shape": (8, 64, 64, 2)}, "2 channels, but the model has 3"),
        ({"input_shape": (8, 64, 6.4, 3)}, "width must be an integer"),
        ({"input_shape": (1, 64, 64, 3)}, "2 or more"),
    ],
)
def test_arguments_of_builders(arguments, message):
    with pytest.raises(ValueError, match=message):
        stzoo.c2d_tiny(**arguments)


def test_labels_that_are_not_utf_8(model, tmp_path):
    labels = (os.fsdecode(b"caf\xe9"), *"bcde")  # a folder for each class
    stzoo.save(model, tmp_path, labels=labels)
    assert stzoo.load(tmp_path).stzoo.labels == labels
    (tmp_path / "config.json").read_bytes().decode()


def test_what_cannot_be_saved(model, folder):
    before = files(folder)
    with pytest.raises(
        ValueError, match="5 classes, but 2 labels.*Nothing was written"
    ):
        stzoo.save(model, folder, labels=["a", "b"])
    with pytest.raises(
        ValueError, match="must be a list of strings.*Nothing was written"
    ):
        stzoo.save(model, folder, labels=range(5))
    layer = model.get_layer("bn1")
    weights = layer.get_weights()
    layer.set_weights([np.full(4, np.inf)] + weights[1:])
    with pytest.raises(ValueError, match="bn1/gamma contains.*Nothing was written"):
        stzoo.save(model, folder)
    layer.set_weights(weights)
    plain = keras.Model(model.input, model.output)
    with pytest.raises(ValueError, match="was not built by stzoo"):
        stzoo.save(plain, folder)
    assert files(folder) == before


def test_a_full_disk_leaves_what_was_there(model, folder, monkeypatch):
    before = files(folder)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        stzoo.save(model, folder)
    assert files(folder) == before
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS, CARD}


def test_published_weights_load_and_until_then_the_error_says_how(
    hub, model, tmp_path, monkeypatch
):
    entries = tuple(ModelConfig("cost_tiny", tag=tag) for tag in ("imagenet", "sports"))
    monkeypatch.setattr(
        cost, "FAMILY", dataclasses.replace(cost.FAMILY, entries=entries)
    )
    monkeypatch.setenv("STZOO_HUB_NAMESPACE", "somebody")

    def build():
        return stzoo.cost_tiny(pretrained="sports", width=4, depths=(1, 1))

    with pytest.raises(FileNotFoundError) as info:
        build()
    for words in (
        "hf://somebody/cost_tiny.sports@main/config.json: there is no such repository",
        "`stzoo convert cost_tiny FILE --out FOLDER`",
    ):
        assert words in str(info.value)
    stzoo.save(model, tmp_path, labels="abcde", tag="sports")
    hub.repositories["somebody/cost_tiny.sports"] = files(tmp_path)
    published = build()
    assert published.stzoo.labels == tuple("abcde")
    assert published.input_shape == (None, 2, 32, 32, 3)
    assert_same_weights(published, model)
    change(hub.repositories["somebody/cost_tiny.sports"], weights=cut)
    with pytest.raises(ValueError, match="somebody/cost_tiny.sports@main/model.safet"):
        build()


@pytest.mark.parametrize("tag", ["kinetics400", "moments_in_time"])
def test_what_nobody_has_published(hub, tag):
    with pytest.raises(FileNotFoundError) as info:
        stzoo.cost_resnet101(pretrained=tag)
    message = str(info.value)
    assert message.startswith(
        f"The weights cost_resnet101.{tag} are not published. Their source is Li et "
        "al., CVPR 2019. Similar weights that are available: cost_resnet101.imagenet"
    )
    assert ("c2d_resnet50.kinetics400" in message) == (tag == "kinetics400")
    assert message.endswith(
        " `stzoo list --pretrained` lists all weights. Or train cost_resnet101 and "
        "save it with `stzoo.save`, or convert a checkpoint with `stzoo convert "
        "cost_resnet101 FILE --out FOLDER`, then pass pretrained=FOLDER."
    )
    assert not hub.requests  # so it is as fast without a network


def test_the_nearest_weights_are_of_the_same_network_or_data_set(hub):
    with pytest.raises(FileNotFoundError, match="p3d_resnet50.kinetics400, p3d_res"):
        stzoo.p3d_resnet152(pretrained="kinetics400")


@pytest.mark.slow
def test_a_namespace_is_asked_first_and_the_original_then(hub, monkeypatch, tmp_path):
    image = reference_resnet((3, 4, 6, 3))
    data = save_torch(image.state_dict())
    hub.repositories["timm/resnet50.tv_in1k"] = {WEIGHTS: data}
    monkeypatch.setenv("STZOO_HUB_NAMESPACE", "somebody")
    shape = (2, 64, 32, 3)
    original = stzoo.c2d_resnet50(pretrained="imagenet", input_shape=shape)
    asked = [path for _, path in hub.requests if "/resolve/" in path]
    assert asked[0].startswith("/somebody/c2d_resnet50.imagenet/resolve/main/config")
    assert f"/timm/resnet50.tv_in1k/resolve/main/{WEIGHTS}" in asked
    stzoo.save(original, tmp_path, tag="imagenet", source="a copy")
    hub.repositories["somebody/c2d_resnet50.imagenet"] = files(tmp_path)
    hub.requests.clear()
    copy = stzoo.c2d_resnet50(pretrained="imagenet", input_shape=shape)
    assert copy.stzoo.source == "a copy"
    assert not [path for _, path in hub.requests if "timm" in path]
    assert_same_weights(copy, original)


def repeat(frame, frames):
    """A clip in which nothing moves."""
    return np.repeat(frame[:, None], frames, axis=1)


def test_imagenet_weights_come_from_timm(hub, caplog):
    image = reference_resnet((3, 4, 6, 3))
    data = save_torch(image.state_dict())
    hub.repositories["timm/resnet50.tv_in1k"] = {WEIGHTS: data}
    model = stzoo.c2d_resnet50(pretrained="imagenet", input_shape=(2, 64, 32, 3))
    paths = [path for _, path in hub.requests]
    assert f"/timm/resnet50.tv_in1k/resolve/main/{WEIGHTS}" in paths
    assert not caplog.records
    assert model.stzoo.name == "c2d_resnet50.imagenet"
    frame = np.random.default_rng(0).integers(0, 256, (1, 64, 32, 3), "uint8")
    expected = logits(image, frame)
    found = np.asarray(model.predict_on_batch(repeat(frame, 2)))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.fixture
def image(hub, monkeypatch):
    """A small image network as if timm had it, and entries that take it."""
    image = reference_resnet((1, 1), 4, 10)
    hub.repositories["timm/tiny"] = {WEIGHTS: save_torch(image.state_dict())}
    entries = tuple(
        dataclasses.replace(
            entry,
            builder=f"{family}_tiny",
            classes=10,
            labels=(),
            repository="timm/tiny",
        )
        for family in ("c2d", "c3d", "cost")
        for entry in cost.FAMILY.entries
        if entry.name == f"{family}_resnet50.imagenet"
    )
    monkeypatch.setattr(
        cost, "FAMILY", dataclasses.replace(cost.FAMILY, entries=entries)
    )
    return image


SMALL = {"pretrained": "imagenet", "width": 4, "depths": (1, 1)}


def test_c2d_answers_to_a_still_clip_as_the_image_network(image):
    model = stzoo.c2d_tiny(input_shape=(6, 64, 48, 3), **SMALL)
    frame = clips(1, 64)[:, 0, :, :48]
    expected = logits(image, frame)
    found = answers(model, repeat(frame, 6))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kernel", ["3x1x1", "3x3x3"])
def test_c3d_is_inflated_so_that_inner_frames_see_the_image_network(image, kernel):
    model = stzoo.c3d_tiny(input_shape=(16, 64, 64, 3), kernel=kernel, **SMALL)
    features = keras.Model(model.input, model.get_layer("layer2_0_relu").output)
    frame = clips(1, 64)[:, 0]
    found = answers(features, repeat(frame, 16))
    seen = []
    image.layer2.register_forward_hook(
        lambda layer, inputs, output: seen.append(output)
    )
    logits(image, frame)
    expected = repeat(np.moveaxis(seen[0].numpy(), 1, -1), 8)
    error = np.abs(found - expected).max((0, 2, 3, 4)) / expected.max()
    # Zeros before the first and after the last frame are not what the image network
    # saw, and the inflated layer carries that one frame inwards.
    assert error[1:7].max() < 1e-5
    assert error[[0, 7]].min() > 1e-3


@pytest.mark.parametrize("variant", ["a", "b"])
def test_cost_shares_the_kernels_of_the_image_network(image, variant, caplog):
    model = stzoo.cost_tiny(variant=variant, classes=7, **SMALL)
    assert [record.name for record in caplog.records] == ["stzoo"]
    assert "cost_tiny.imagenet: the weights are for 10 classes, so" in caplog.text
    state = {name: tensor.numpy() for name, tensor in image.state_dict().items()}
    for block in ("layer1_0", "layer2_0"):
        shared, *coefficients = model.get_layer(f"{block}_conv2").get_weights()
        kernel = state[f"{block.replace('_', '.')}.conv2.weight"]
        np.testing.assert_array_equal(shared, kernel.transpose(2, 3, 1, 0))
        assert len(coefficients) == {"a": 1, "b": 2}[variant] * (block[5] in "24")
        gamma, beta, mean, variance = model.get_layer(f"{block}_bn2").get_weights()
        np.testing.assert_array_equal(gamma, state[f"{block[:6]}.0.bn2.weight"])
        np.testing.assert_array_equal(mean, state[f"{block[:6]}.0.bn2.running_mean"])
    if variant == "a":
        np.testing.assert_allclose(coefficients[0][:, 0], [0.7, -0.7, -0.7])


def test_a_file_of_timm_that_does_not_fit(hub, image):
    state = image.state_dict()
    state["head.weight"] = state.pop("layer1.0.conv1.weight")
    hub.repositories["timm/tiny"][WEIGHTS] = save_torch(state)
    with pytest.raises(ValueError) as info:
        stzoo.c2d_tiny(**SMALL)
    assert "hf://timm/tiny@main/model.safetensors: its names" in str(info.value)
    assert "Missing: layer1_0_conv1/kernel." in str(info.value)
    assert "Not in the model: head.weight." in str(info.value)
    hub.repositories["timm/tiny"][WEIGHTS] = save_torch(image.state_dict())
    assert stzoo.c2d_tiny(**SMALL).stzoo.classes == 10
