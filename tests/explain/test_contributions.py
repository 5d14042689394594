import csv
import dataclasses
import io

import keras
import numpy as np
import pandas
import pytest
from harness import close, numpy, randomize
from twins import cost_views, softmax

import stzoo
from stzoo.explain.contributions import contributions

RNG = np.random.default_rng(0)
SMALL = dict(input_shape=(4, 32, 32, 3), classes=5, width=8, depths=(2, 1, 1, 1))


@pytest.fixture(scope="module")
def model():
    """CoST of variant b whose coefficients are far from equal."""
    model = stzoo.cost_tiny(**SMALL)
    for layer in model.layers:
        if layer.name.endswith("conv2") and hasattr(layer, "fc1"):
            for dense in (layer.fc1, layer.fc2):
                dense.kernel.assign(RNG.normal(size=dense.kernel.shape))
    return model


@pytest.fixture(scope="module")
def data():
    clips = RNG.integers(0, 256, (10, 4, 32, 32, 3)).astype("uint8")
    return clips, np.array([0, 0, 0, 2, 2, 2, 2, 4, 4, 4])


def batches(clips, labels, size):
    for start in range(0, len(clips), size):
        yield clips[start : start + size], labels[start : start + size]


def test_assigned_coefficients_are_returned():
    model = stzoo.cost_tiny(variant="a", **SMALL)
    planted = {}
    for layer in model.layers:
        if isinstance(layer, stzoo.layers.CoST):
            shares = RNG.dirichlet(np.ones(3), layer.filters)
            layer.alpha.assign(np.log(shares.T) + 7)
            planted[layer.name] = shares
    found = contributions(model)
    assert found.parts == ("hw", "tw", "th")
    assert found.layers == tuple(planted)
    assert (found.total, found.classes) == (0, ())
    for index, (name, shares) in enumerate(planted.items()):
        close(found.by_channel[name], shares)
        close(found.by_layer[index], shares.mean(0))
    close(found.overall, found.by_layer.mean(0))
    assert "from the weights" in str(found)
    clips = np.zeros((3, 4, 32, 32, 3), "uint8")
    close(contributions(model, [clips]).by_layer, found.by_layer)


def test_coefficients_of_clips_match_the_equation(model, data):
    clips, labels = data
    found = contributions(model, batches(*data, 4))
    assert found.classes == ("class 0", "class 2", "class 4")
    assert found.videos == (3, 4, 3)
    for index, name in enumerate(found.layers):
        layer = model.get_layer(name)
        x = numpy(keras.Model(model.input, layer.input)(clips))
        views = cost_views(x, numpy(layer.kernel), layer.strides[1])
        shared, mixing = numpy(layer.fc1.kernel), numpy(layer.fc2.kernel)
        scores = np.einsum("vbc,cd,vu->bud", views.max((2, 3, 4)), shared, mixing)
        shares = softmax(scores, 1)
        close(found.by_channel[name], shares.mean(0).T)
        close(found.by_layer[index], shares.mean((0, 2)))
        for row, label in enumerate((0, 2, 4)):
            close(found.by_class[row, index], shares[labels == label].mean((0, 2)))
    assert np.ptp(found.by_layer) > 0.05


def test_two_halves_average_to_the_whole(model, data):
    clips, labels = data
    whole = contributions(model, batches(*data, 3))
    first = contributions(model, batches(clips[:5], labels[:5], 5))
    second = contributions(model, batches(clips[5:], labels[5:], 2))
    close((first.by_layer + second.by_layer) / 2, whole.by_layer)
    close(contributions(model, [clips]).by_layer, whole.by_layer)
    assert contributions(model, [clips]).classes == ()


def test_clips_without_weight_are_ignored(model, data):
    """The pipeline pads its last batch with them."""
    clips, labels = data
    found = contributions(model, [(clips, labels, np.arange(10) < 7)])
    expected = contributions(model, [(clips[:7], labels[:7])])
    assert found.rows() == expected.rows()
    weightless = (clips, labels, np.zeros(10))
    assert contributions(model, [weightless, (clips[:7], labels[:7])]).total == 7


def test_the_table_has_a_row_for_each_layer_and_each_class(model, data):
    found = contributions(model, batches(*data, 10))
    layers = [name for name in found.by_channel]
    assert found.layers == tuple(layers) and len(layers) == 2
    heads = [("layer", name, 10) for name in layers] + [("all", "", 10)]
    heads += [("class", f"class {n}", count) for n, count in ((0, 3), (2, 4), (4, 3))]
    shares = [
        *(found.by_channel[name].mean(0) for name in layers),
        np.mean([found.by_channel[name].mean(0) for name in layers], 0),
        *(found.by_class[row].mean(0) for row in range(3)),
    ]
    columns = ["scope", "name", "videos", "hw", "tw", "th"]
    rows = found.rows()
    assert [list(row) for row in rows] == [columns] * 6
    assert [tuple(row.values())[:3] for row in rows] == heads
    close([tuple(row.values())[3:] for row in rows], shares)
    assert all(type(row[part]) is float for row in rows for part in found.parts)

    assert found.to_csv().endswith("\n") and "\r" not in found.to_csv()
    read = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert read == [{key: str(value) for key, value in row.items()} for row in rows]
    frame = found.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.to_dict("records") == rows

    lines = str(found).splitlines()
    assert lines[0] == "cost_tiny: 10 videos" and len(lines) == 8
    assert lines[1].split() == ["hw", "tw", "th"]
    for line, (_, name, _), row in zip(lines[2:], heads, shares, strict=True):
        told = (name or "all layers").split() + [f"{share:.3f}" for share in row]
        assert line.split() == told
    assert len({len(line) for line in lines[1:]}) == 1, "columns are aligned"


def test_classes_have_the_labels_of_the_model(data):
    model = stzoo.cost_tiny(variant="a", **SMALL)
    names = ("a", "b", "c", "d", "e")
    model.stzoo = dataclasses.replace(model.stzoo, labels=names, tag="mine")
    found = contributions(model, batches(*data, 4))
    assert (found.model, found.classes) == ("cost_tiny.mine", ("a", "c", "e"))
    assert (found.videos, found.total) == ((3, 4, 3), 10)
    assert "\nc " in str(found) and str(found).startswith("cost_tiny.mine: 10 videos")
    plain = keras.Model(model.input, model.output, name="plain")
    found = contributions(plain, batches(*data, 4))
    assert (found.model, found.classes) == ("plain", ("0", "2", "4"))


@pytest.mark.parametrize(
    ("builder", "options", "parts"),
    [
        ("cstm_tiny", {}, ("convolution", "shift")),
        ("gsm_tiny", {}, ("kept", "shifted")),
        ("gsm_tiny", {"attention": True}, ("kept", "shifted")),
    ],
)
def test_other_operators_have_shares(builder, options, parts):
    clip = (3, 64, 64, 3)
    model = stzoo.create(
        builder, input_shape=clip, width=8, depth=2, classes=5, **options
    )
    operators = [layer for layer in model.layers if getattr(layer, "parts", ())]
    for layer in operators:
        randomize(layer)
    clips = RNG.integers(0, 256, (2, *clip)).astype("uint8")
    found = contributions(model, [(clips, [1, 3])])
    assert found.parts == parts
    assert found.layers == tuple(layer.name for layer in operators)
    close(found.by_layer.sum(1), np.ones(2))
    for layer in operators:
        x = keras.Model(model.input, layer.input)(clips)
        expected = numpy(layer.coefficients(x)).mean(0).T
        close(found.by_channel[layer.name], expected)


def test_bad_models_and_data_are_refused(model, data):
    clips, labels = data
    with pytest.raises(ValueError, match="c2d_tiny has no coefficients"):
        contributions(stzoo.c2d_tiny(**SMALL))
    with pytest.raises(ValueError, match='layer1_1_conv2 .* .variant "b".. Pass clips'):
        contributions(model)
    with pytest.raises(ValueError, match="no clip in the data"):
        contributions(model, [])
    with pytest.raises(ValueError, match="from 0 to 4, .* from 2 to 6"):
        contributions(model, [(clips[3:], labels[3:] + 2 * (labels[3:] > 2))])
    broken = stzoo.cost_tiny(variant="a", **SMALL)
    broken.get_layer("layer1_1_conv2").alpha.assign(np.full((3, 8), np.nan))
    with pytest.raises(ValueError, match="of layer1_1_conv2 contain NaN"):
        contributions(broken)
