"""Tests the exact messages about weights, and the helpers of `checkpoint`."""

import dataclasses
import hashlib
import io
import json
import types

import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load, save

from stzoo import writer
from stzoo.weights import checkpoint, config
from stzoo.weights.checkpoint import Source
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.hub import CONFIG, WEIGHTS

URL = "hf://zoo/model"


def refused(function, *args, kind=ValueError, **kwargs):
    with pytest.raises(kind) as error:
        function(*args, **kwargs)
    return str(error.value)


def head(classes=3, **tensors):
    """The tensors of a model that is a head only."""
    kernel = np.arange(2.0 * classes, dtype="float32").reshape(2, classes)
    return {"fc/kernel": kernel, "fc/bias": np.ones(classes, "float32"), **tensors}


def put(folder, values=None, data=None):
    """A folder with a config.json and weights, whose hash is stated."""
    data = save(head()) if data is None else data
    sha256 = hashlib.sha256(data).hexdigest()
    known = {"library": "stzoo", "builder": "c2d_tiny", "classes": 3, "sha256": sha256}
    folder.mkdir(exist_ok=True)
    (folder / WEIGHTS).write_bytes(data)
    (folder / CONFIG).write_text(json.dumps({**known, **(values or {})}))
    return folder


class Variable:
    """A variable of a model, as far as weights are put into it."""

    def __init__(self, path, shape, dtype="float32"):
        self.path, self.shape, self.dtype, self.value = path, list(shape), dtype, None

    def assign(self, value):
        self.value = value


def network(**shapes):
    """A model, as far as weights are put into it: names with `_` for `/`."""
    weights = [Variable(name.replace("_", "/"), shapes[name]) for name in shapes]
    return types.SimpleNamespace(weights=weights)


@pytest.fixture
def model():
    """A model that Keras can take apart, with the record of a head of three classes."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="fc")(inputs), name="mine")
    clip = ClipConfig(frames=4)
    model.stzoo = ModelConfig(
        "c2d_tiny",
        tag="old",
        dataset="three",
        classes=3,
        clip=clip,
        labels=("a", "b", "c"),
        options={"width": 8},
        licence="MIT",
        fused=True,
    )
    return model


def test_a_file_of_a_folder_that_is_wrong(tmp_path):
    source = Source(tmp_path, None)
    advice = "Copy or save it again."
    error = source.refuse(WEIGHTS, "it is cut...")
    assert type(error) is ValueError
    assert str(error) == f"{tmp_path}/{WEIGHTS}: it is cut. {advice}"
    for problem, told in [
        (ValueError("it is cut"), "it is cut"),
        ("it has no tensor X.", "it has no tensor X"),
        ("a" * 1000, "a" * 1000),
        ("a" * 1000 + "b", "a" * 1000 + " ..."),
    ]:
        error = source.refuse(CONFIG, problem)
        assert str(error) == f"{tmp_path}/{CONFIG}: {told}. {advice}"


@pytest.mark.parametrize("removed", [True, False])
def test_a_file_of_the_hub_that_is_wrong(monkeypatch, removed):
    asked = []

    def evict(*args):
        asked.append(args)
        return removed

    monkeypatch.setattr(checkpoint.hub, "evict", evict)
    error = Source(URL, None).refuse(WEIGHTS, "it is cut")
    assert asked == [(URL, WEIGHTS)]
    assert str(error) == f"{URL}/{WEIGHTS}: it is cut. " + (
        "The damaged file was removed from the cache. The next call downloads it again."
        if removed
        else "The cache was not changed. Try another revision."
    )


ENTRIES = (
    ModelConfig("c3d_tiny", "other", repository="zoo/other"),
    ModelConfig("c2d_tiny", "first", repository="zoo/one", revision="v1"),
    ModelConfig("c2d_tiny", "second", repository="https://zoo/two.zip"),
)


def resolve(pretrained, entries=ENTRIES):
    return checkpoint.resolve_weights("c2d_tiny", pretrained, entries)


def test_weights_are_found_by_their_tag(tmp_path):
    assert resolve(None) is None and resolve(False) is None
    source = Source(tmp_path, ENTRIES[0])
    assert resolve(source) is source
    assert resolve(True) == Source("hf://zoo/one@v1", ENTRIES[1])
    assert resolve("first") == Source("hf://zoo/one@v1", ENTRIES[1])
    assert resolve("second") == Source("https://zoo/two.zip", ENTRIES[2])
    put(tmp_path)
    for where in (tmp_path, str(tmp_path)):
        found = resolve(where)
        assert found.where == where and found.data == (tmp_path / WEIGHTS).read_bytes()
        assert found.config == checkpoint.read(tmp_path).config


def test_weights_that_cannot_be_found():
    for pretrained, entries, known in [
        ("other", ENTRIES, "'first', 'second'"),
        (3, ENTRIES, "'first', 'second'"),
        (True, ENTRIES[:1], "none"),
        ("runs/none", (), "none"),
    ]:
        assert refused(resolve, pretrained, entries) == (
            f"pretrained={pretrained!r} is not a tag of c2d_tiny (tags: {known}), not "
            'an existing folder, and not "hf://organisation/repository@revision".'
        )


def test_weights_of_another_builder_or_of_a_fused_model(tmp_path):
    put(tmp_path, {"builder": "c3d_tiny"})
    assert refused(resolve, tmp_path) == (
        f"{tmp_path} has weights of c3d_tiny, not of c2d_tiny. Use `stzoo.load`, which "
        "builds the right model."
    )
    put(tmp_path, {"fused": True})
    assert refused(resolve, tmp_path) == (
        f"{tmp_path} has the weights of a fused c2d_tiny. Use `stzoo.load`, which "
        "builds the fused model."
    )


def test_weights_that_are_not_published(monkeypatch):
    asked = []

    def missing(where):
        asked.append(where)
        raise FileNotFoundError("There is no such repository.")

    monkeypatch.setattr(checkpoint, "read", missing)
    monkeypatch.setenv("STZOO_HUB_NAMESPACE", "somebody")
    entries = [
        ModelConfig("c2d_tiny", tag, source="a paper", revision="v2")
        for tag in ("one", "two")
    ]
    assert refused(resolve, "two", entries, kind=FileNotFoundError) == (
        "There is no such repository. Their source is a paper. Similar weights that "
        "are available: none of this family. `stzoo list --pretrained` lists all "
        "weights. Or train c2d_tiny and save it with `stzoo.save`, or convert a "
        "checkpoint with `stzoo convert c2d_tiny FILE --out FOLDER`, then pass "
        "pretrained=FOLDER."
    )
    assert asked == ["hf://somebody/c2d_tiny.two@v2"]


def test_weights_of_no_dataset_are_not_near_to_each_other(monkeypatch):
    monkeypatch.delenv("STZOO_HUB_NAMESPACE", raising=False)
    entries = (ModelConfig("c2d_tiny", "mine"), ENTRIES[0])
    message = refused(resolve, "mine", entries, kind=FileNotFoundError)
    assert message.startswith(
        "The weights c2d_tiny.mine are not published. Similar weights that are "
        "available: none of this family. "
    )


def test_the_log_says_that_the_original_is_taken(monkeypatch, caplog):
    def missing(where):
        raise FileNotFoundError("There is no such repository")

    monkeypatch.setattr(checkpoint, "read", missing)
    monkeypatch.setenv("STZOO_HUB_NAMESPACE", "somebody")
    caplog.set_level("INFO", "stzoo")
    assert resolve("first").where == "hf://zoo/one@v1"
    assert caplog.messages == [
        "There is no such repository: the original weights are used instead."
    ]


def test_shipped_weights_come_before_those_of_the_hub(tmp_path, monkeypatch):
    asked = []

    def shipped(name):
        asked.append(name)
        return put(tmp_path)

    monkeypatch.setattr(checkpoint.hub, "shipped", shipped)
    source = resolve("mine", [ModelConfig("c2d_tiny", "mine")])
    assert source.where == tmp_path and asked == ["c2d_tiny.mine"]


def test_a_config_that_is_wrong_in_a_folder(tmp_path):
    put(tmp_path, {"library": "other"})
    assert refused(checkpoint.read, tmp_path) == (
        f"{tmp_path}/{CONFIG}: this is not the config of a model of stzoo: it does not "
        'contain "library": "stzoo". Copy or save it again.'
    )


def test_of_a_config_of_the_hub_only_so_much_is_read(tmp_path, monkeypatch):
    put(tmp_path)
    monkeypatch.setattr(
        checkpoint.hub, "fetch", lambda where, filename: tmp_path / filename
    )
    source = checkpoint.read(URL)
    assert (source.where, source.data, source.config.classes) == (URL, None, 3)
    places = []

    class File(io.BytesIO):
        def close(self):
            places.append(self.tell())

    file = types.SimpleNamespace(open=lambda mode: File(b"{" * 100))
    monkeypatch.setattr(checkpoint.hub, "fetch", lambda where, filename: file)
    monkeypatch.setattr(checkpoint, "CONFIG_BYTES", 10)
    monkeypatch.setattr(config, "CONFIG_BYTES", 10)
    assert refused(checkpoint.read, URL) == (
        f"{URL}/{CONFIG}: this is not the config of a model of stzoo: it has more than "
        "10 bytes. The cache was not changed. Try another revision."
    )
    assert places[0] == 11


@pytest.fixture
def reads(tmp_path, monkeypatch):
    """What is read, and the seconds between; `reads.pairs` are the answers."""
    seen = types.SimpleNamespace(names=[], waits=[], pairs=None)

    def read(folder, name):
        assert folder == tmp_path
        seen.names.append(name)
        answer = next(seen.pairs)
        if answer is None:
            raise FileNotFoundError(name)
        return answer

    monkeypatch.setattr(writer, "read", read)
    sleep = types.SimpleNamespace(sleep=seen.waits.append)
    monkeypatch.setattr(checkpoint, "time", sleep)
    return seen


WRONG = b'{"library": "stzoo", "builder": "a", "sha256": "0"}'


def test_a_pair_that_stays_wrong_is_read_six_times(tmp_path, reads):
    reads.pairs = iter([WRONG, b"data"] * 50)
    assert checkpoint.read_pair(tmp_path) == [WRONG, b"data"]
    assert reads.names == [CONFIG, WEIGHTS] * 6
    assert reads.waits == [0.01] * 6


def test_a_pair_that_changes_is_read_until_it_is_right(tmp_path, reads):
    data = [b"%d" % (number // 4) for number in range(40)]  # each one twice
    pairs = [part for number in data for part in (WRONG, number)]
    right = {"library": "stzoo", "builder": "a", "sha256": ""}
    reads.pairs = iter([*pairs, json.dumps(right).encode(), b"data"])
    assert checkpoint.read_pair(tmp_path)[1] == b"data"
    assert len(reads.waits) == 40


def test_a_pair_of_which_one_is_missing(tmp_path, reads):
    (tmp_path / CONFIG).write_bytes(b"{}")
    reads.pairs = iter([b"{}", None] * 50)
    message = refused(checkpoint.read_pair, tmp_path, kind=FileNotFoundError)
    assert message.startswith(f"{tmp_path / WEIGHTS} is missing. ")
    assert reads.waits == [0.01] * 5


def test_what_a_killed_writer_left_is_put_in_place(tmp_path):
    put(tmp_path / "model")
    put(tmp_path / "model" / writer.WHOLE, data=save(head(4)))
    config, data = checkpoint.read_pair(tmp_path / "model")
    assert data == save(head(4)) and hashlib.sha256(data).hexdigest() in config.decode()
    assert not (tmp_path / "model" / writer.WHOLE).exists()


def test_which_weights_belong_to_a_config():
    values = {"library": "stzoo", "builder": "a"}
    for sha256, belongs in [
        ("", True),
        (hashlib.sha256(b"data").hexdigest(), True),
        (hashlib.sha256(b"other").hexdigest(), False),
    ]:
        text = json.dumps({**values, "sha256": sha256}).encode()
        assert checkpoint._belong_together(text, b"data") is belongs
    assert checkpoint._belong_together(b"no JSON", b"data") is True


def test_tensors_that_were_read_are_not_read_again():
    tensors = {"a": np.zeros(1)}
    assert checkpoint.read_tensors(Source(URL, None, tensors=tensors)) is tensors


def test_files_that_are_no_safetensors(tmp_path):
    bfloat = save({"a": np.zeros(2, "float16")}).replace(b"F16", b"BF16")
    for data in (b"", b"<html>", save(head())[:-1], bfloat):
        record = ModelConfig("a", sha256=hashlib.sha256(data).hexdigest())
        message = refused(checkpoint.read_tensors, Source(tmp_path, record, None, data))
        start = (
            f"{tmp_path}/{WEIGHTS}: it is not a safetensors file, or it is incomplete ("
        )
        assert message.startswith(start)
        assert message.endswith("). Copy or save it again.")
        inner = message.removeprefix(start)
        assert "None" not in inner and len(inner) > 30


def test_weights_of_another_hash(tmp_path):
    right, wrong = (hashlib.sha256(text).hexdigest() for text in (b"data", b"other"))
    for stated in (wrong, "a" * 10**5):
        source = Source(tmp_path, ModelConfig("a", sha256=stated), None, b"data")
        told = f"'{stated[:12]}...{stated[-13:]}'"
        assert refused(checkpoint.read_tensors, source) == (
            f"{tmp_path}/{WEIGHTS}: its sha256 is {right}, but config.json has {told}. "
            "The file is damaged, or it is another version. Copy or save it again."
        )


def test_the_hash_of_fetched_weights_is_that_of_the_config_or_of_the_cache(
    tmp_path, monkeypatch, caplog
):
    data = save(head())
    right, wrong = (hashlib.sha256(text).hexdigest() for text in (data, b"other"))
    fetched = []

    def fetch(where, filename):
        fetched.append((where, filename))
        return tmp_path / name

    monkeypatch.setattr(checkpoint.hub, "fetch", fetch)
    for name, stated, is_right in [
        (right, "", True),
        (wrong, "", False),
        (wrong, right, True),
        (right, wrong, False),
    ]:
        (tmp_path / name).write_bytes(data)
        source = Source(URL, ModelConfig("a", classes=3, sha256=stated))
        if is_right:
            assert checkpoint.read_tensors(source).keys() == head().keys()
        else:
            message = refused(checkpoint.read_tensors, source)
            assert f"its sha256 is {right}, but config.json has " in message
        assert fetched.pop() == (URL, WEIGHTS)
    assert not caplog.messages
    name = WEIGHTS
    (tmp_path / name).write_bytes(data)
    checkpoint.read_tensors(Source(URL, ModelConfig("a", classes=3)))
    assert caplog.messages == [
        f"{URL}: config.json has no sha256, so damaged weights may not be detected. "
        "`stzoo.save` writes the sha256."
    ]


def claims(tmp_path, tensors, **values):
    data = save(tensors)
    known = {"classes": 3, "sha256": hashlib.sha256(data).hexdigest(), **values}
    source = Source(tmp_path, ModelConfig("a", **known), None, data)
    found = checkpoint.read_tensors(source)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)


def test_a_config_claims_what_its_weights_hold(tmp_path, monkeypatch):
    def told(tensors, **values):
        message = refused(claims, tmp_path, tensors, **values)
        start, end = f"{tmp_path}/{WEIGHTS}: ", ". Copy or save it again."
        assert message.startswith(start) and message.endswith(end)
        return message.removeprefix(start).removesuffix(end)

    claims(tmp_path, head())
    bias, kernel = (head()[name] for name in ("fc/bias", "fc/kernel"))
    missing = "its names do not match the model. Missing: "
    assert told({"fc/kernel": kernel}) == missing + "fc/bias"
    assert told({"fc/bias": bias}) == missing + "fc/kernel"
    assert told(head(4)) == (
        "fc/bias has the shape (4,), but config.json has 3 classes"
    )
    assert told(head(**{"fc/bias": np.array(1, "float32")})) == (
        "fc/bias has the shape (), but config.json has 3 classes"
    )
    assert told(head(**{"fc/kernel": kernel.T.copy()})) == (
        "fc/kernel has the shape (3, 2), but config.json has 3 classes"
    )
    long = np.zeros([1] * 30, "float32")
    assert told(head(**{"fc/kernel": long})) == (
        "fc/kernel has the shape (1, 1, 1, 1, 1, 1, ...), but config.json has 3 classes"
    )
    claims(tmp_path, {"a": bias}, repository="zoo/foreign")
    monkeypatch.setattr(checkpoint, "TENSORS", 2)
    claims(tmp_path, head())
    assert told(head(extra=bias)) == "it has 3 tensors, more than 2"


def loaded(model, tensors, key_map=(), prepare=None, **values):
    record = ModelConfig("c2d_tiny", tag="mine", **{"classes": 3, **values})
    source = Source("folder", record)
    checkpoint.load_weights(model, source, tensors, key_map, prepare)
    return {variable.path: variable.value for variable in model.weights}


def test_tensors_are_put_into_their_variables(caplog):
    tensors = head(**{"a/kernel": np.full((1, 2), 7, "float32")})
    found = loaded(network(fc_kernel=(2, 3), fc_bias=(3,), a_kernel=(1, 2)), tensors)
    assert found.keys() == tensors.keys() and not caplog.messages
    for path, value in found.items():
        np.testing.assert_array_equal(value, tensors[path])


def test_another_head_starts_new(caplog):
    tensors = head(5, **{"a/kernel": np.full((1, 2), 7, "float32")})
    model = network(fc_kernel=(2, 3), fc_bias=(3,), a_kernel=(1, 2))
    found = loaded(model, tensors, classes=5)
    assert found["fc/kernel"] is None and found["fc/bias"] is None
    np.testing.assert_array_equal(found["a/kernel"], [[7, 7]])
    assert caplog.messages == [
        "c2d_tiny.mine: the weights are for 5 classes, so the head of this model "
        "is random."
    ]


def test_tensors_of_foreign_names_are_prepared_and_renamed():
    kernel = head()["fc/kernel"]
    foreign = {"other.weight": kernel.T, "other.bias": np.ones(3, "float32")}
    rules = ((r"^last\.", "fc."),)

    def prepare(tensors):
        return {k.replace("other", "last"): v for k, v in tensors.items()}

    for tensors, prepared in [(foreign, prepare), (prepare(foreign), None)]:
        model = network(fc_kernel=(2, 3), fc_bias=(3,))
        found = loaded(model, tensors, rules, prepared, repository="zoo/foreign")
        np.testing.assert_array_equal(found["fc/kernel"], kernel)
    model = network(fc_kernel=(2, 3), fc_bias=(3,))
    found = loaded(model, head(), rules, lambda tensors: {})  # our own names stay
    np.testing.assert_array_equal(found["fc/kernel"], kernel)


def test_what_a_record_calls_new_may_be_missing():
    model = network(fc_kernel=(2, 3), fc_bias=(3,), a_alpha=(1,))
    assert loaded(model, head(), allow_missing=("alpha$",))["a/alpha"] is None
    assert refused(loaded, model, head(), allow_missing=("beta$",)) == (
        f"folder/{WEIGHTS}: its names do not match the model. Missing: a/alpha. "
        "Not in the model: none. Copy or save it again."
    )


def test_integers_go_into_variables_of_integers():
    model = network(fc_kernel=(2, 3), fc_bias=(3,))
    for number, dtype in enumerate(("int32", "uint8", "int64", "float16", "bool")):
        model.weights.append(Variable(f"v{number}", (1,), dtype))
    assert checkpoint.integers(model) == {"v0", "v1", "v2"}
    model.weights = model.weights[:3]
    step = np.array([3], "int32")
    np.testing.assert_array_equal(loaded(model, head(v0=step))["v0"], step)


def test_tensors_that_do_not_fit():
    shapes = {"a": (2,), "b": (3,)}

    def check(**tensors):
        return refused(checkpoint.check, tensors, shapes, ("^c",), {"b"})

    def of(size, dtype="float32"):
        return np.zeros(size, dtype)

    checkpoint.check({"a": of(2), "b": of(3, "int64")}, shapes, (), {"b"})
    checkpoint.check({"a": of(2, "float16")}, shapes, ("^x", "b"))
    names = "its names do not match the model. Missing: {}. Not in the model: {}"
    assert check() == names.format("a, b", "none")
    assert check(a=of(2)) == names.format("b", "none")
    assert check(a=of(2), b=of(3, int), c=of(1)) == names.format("none", "c")
    assert check(b=of(3, int), d=of(1), c=of(1)) == names.format("a", "c, d")
    assert check(a=of((2, 1)), b=of(3, int)) == (
        "a has the shape (2, 1), but the model needs (2,)"
    )
    assert check(a=of([1] * 30), b=of(3, int)) == (
        "a has the shape (1, 1, 1, 1, 1, 1, ...), but the model needs (2,)"
    )
    assert check(a=of(2, "int32"), b=of(3, int)) == "a has the type int32, not floats"
    assert check(a=of(2), b=of(3)) == "b has the type float32, not integers"
    assert check(a=of(2, bool), b=of(3, int)) == "a has the type bool, not floats"
    brain = of(2, ml_dtypes.bfloat16)
    assert check(a=brain, b=of(3, int)) == "a has the type bfloat16, not floats"
    for value in (np.nan, np.inf, -np.inf):
        bad = np.array([0, value], "float32")
        assert check(a=bad, b=of(3, int)) == "a contains NaN or infinity"


def test_names_are_told_shortly():
    names = [f"n{number}" for number in range(9)]
    assert checkpoint._some(names[5::-1]) == "n0, n1, n2, n3, n4, n5"
    assert checkpoint._some(names[:7]) == "n0, n1, n2, n3, n4, n5 and 1 more"
    assert checkpoint._some(names, 2) == "n0, n1 and 7 more"
    assert checkpoint._some(()) == "none"
    for size in (199, 200):
        long = "a" * size
        told = long if size < 200 else "'aaaaaaaaaaaa...aaaaaaaaaaaaa'"
        assert checkpoint._some([long]) == told


def saved(folder):
    data = (folder / WEIGHTS).read_bytes()
    values = json.loads((folder / CONFIG).read_text("utf-8"))
    assert values.pop("sha256") == hashlib.sha256(data).hexdigest()
    return values, data


def test_a_saved_folder_says_what_it_holds(model, tmp_path):
    checkpoint.save(model, tmp_path / "new" / "folder")
    values, data = saved(tmp_path / "new" / "folder")
    found = {name: values.get(name) for name in ("builder", "classes", "options")}
    assert found == {"builder": "c2d_tiny", "classes": 3, "options": {"width": 8}}
    assert (values["labels"], values["dataset"]) == (["a", "b", "c"], "three")
    assert values["clip"]["frames"] == 4 and values["fused"] is True
    assert not values.keys() & {"tag", "licence"}, "of these weights, not of the old"
    assert b'"__metadata__":{"format":"keras"}' in data
    kernel, bias = map(keras.ops.convert_to_numpy, model.get_layer("fc").weights)
    np.testing.assert_array_equal(load(data)["fc/kernel"], kernel)
    np.testing.assert_array_equal(load(data)["fc/bias"], bias)
    text = (tmp_path / "new" / "folder" / CONFIG).read_text("utf-8")
    assert text.startswith('{\n  "library": "stzoo",\n') and text.endswith("\n}\n")


def test_other_labels_are_of_another_dataset(model, tmp_path):
    for labels, known, dataset in [
        (("a", "b", "c"), {}, "three"),
        (("x", "y", "ü"), {}, None),
        (("x", "y", "ü"), {"dataset": "mine", "tag": "new"}, "mine"),
    ]:
        checkpoint.save(model, tmp_path, iter(labels), **known)
        values, _ = saved(tmp_path)
        assert (values["labels"], values.get("dataset")) == (list(labels), dataset)
        assert values.get("tag") == known.get("tag")
    assert '"ü"' in (tmp_path / CONFIG).read_text("utf-8")


def test_floats_are_stored_as_asked_where_they_fit(model, tmp_path):
    largest = float(np.finfo("float16").max)
    for value, kept in [(-largest, "float16"), (-largest * 1.1, "float32")]:
        values = np.array([0, 1, value], "float32")
        model.get_layer("fc").set_weights([np.ones((2, 3)), values])
        checkpoint.save(model, tmp_path, dtype="float16")
        found = load((tmp_path / WEIGHTS).read_bytes())
        assert found["fc/kernel"].dtype == "float16" and found["fc/bias"].dtype == kept
        np.testing.assert_array_equal(found["fc/bias"], values.astype(kept))
    checkpoint.save(model, tmp_path)
    kinds = {t.dtype.name for t in load((tmp_path / WEIGHTS).read_bytes()).values()}
    assert kinds == {"float32"}


def test_integers_and_empty_tensors_are_stored_as_they_are(
    model, tmp_path, monkeypatch
):
    tensors = head(step=np.array(70_000), none=np.zeros((0, 2), "float32"))
    tensors["fc/kernel"] = np.asfortranarray(tensors["fc/kernel"])
    monkeypatch.setattr(checkpoint, "merged", lambda model: tensors)
    checkpoint.save(model, tmp_path, dtype="float16")
    found = load((tmp_path / WEIGHTS).read_bytes())
    assert found["step"].dtype == "int64" and found["none"].dtype == "float16"
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)


def test_what_cannot_be_saved(model, tmp_path, monkeypatch):
    folder = tmp_path / "none"
    assert refused(checkpoint.save, keras.Sequential(name="other"), folder) == (
        "The model 'other' was not built by stzoo, so `stzoo.load` could not build it. "
        "Use `model.save` of Keras instead."
    )
    assert refused(checkpoint.save, model, folder, ["a", "b"]).endswith(
        "3 classes, but 2 labels. Nothing was written."
    )
    record = dataclasses.replace(model.stzoo, export={"format": "onnx"})
    exported = types.SimpleNamespace(name="made", stzoo=record)
    assert refused(checkpoint.save, exported, folder) == (
        f"{record.name} is an exported model, which has no weights to save. Copy its "
        "folder, or save the model that it was made from."
    )
    for value in (np.nan, np.inf):
        model.get_layer("fc").set_weights([np.ones((2, 3)), np.array([0, value, 0])])
        assert refused(checkpoint.save, model, folder) == (
            "fc/bias contains NaN or infinity. Nothing was written."
        )
    asked = []
    monkeypatch.setattr(checkpoint, "check_floats", lambda *args: asked.append(args))
    assert "NaN" in refused(checkpoint.save, model, folder)
    assert asked == [
        (
            model,
            "Save it before you quantize it, or use `model.save` of Keras. Nothing was "
            "written.",
        )
    ]
    assert not folder.exists()
