"""The table of the way from a file to a label, and of how its cost grows."""

import csv
import shutil
import time
from functools import partial

import benchmark_growth
import benchmark_predict
import pytest

import stzoo
from stzoo.data import motions

SMALL = {"width": 4, "depths": (1, 1)}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "ball.mp4"
    motions.save(path, motions.render(0)[0])
    return path


def test_a_model_from_its_folder(video, tmp_path):
    model = stzoo.c2d_tiny(input_shape=(2, 32, 32, 3), **SMALL)
    stzoo.save(model, tmp_path)
    row = benchmark_predict.measure(tmp_path, video, time.time())
    assert 0 <= row["import_s"] < row["import_s"] + row["load_s"] < row["first_s"]
    both = row["clip_ms"] + row["network_ms"]
    assert row["share"] == pytest.approx(row["clip_ms"] / both)
    assert row["per_view"] * row["network_ms"] * 30 == pytest.approx(
        1e3 * row["views_s"]
    )
    assert row["views_mb"] >= row["one_mb"] > 0


def test_growth(video, tmp_path, monkeypatch):
    sizes = {"frames": (2, 4), "side": (32, 64), "batch": (1, 3), "views": ("1x1",)}
    monkeypatch.setattr(benchmark_growth, "SIZES", sizes)
    monkeypatch.setattr(
        benchmark_growth,
        "render",
        lambda folder, *_: shutil.copy(video, folder / "00.mp4"),
    )
    monkeypatch.setattr(stzoo, "create", partial(stzoo.create, **SMALL))

    def measure(model):
        chosen = ["--models", model, "--rounds", "1", "--machine", "here"]
        benchmark_growth.main([*chosen, "--out", str(tmp_path)])
        (table,) = tmp_path.glob("growth-here-*.csv")
        assert table.with_name(f"{table.stem}-{model}.png").stat().st_size > 1000
        with table.open() as file:
            return list(csv.DictReader(file))

    rows = measure("c2d_tiny")
    assert [row["size"] for row in rows] == ["2", "4", "32", "64", "1", "3", "1"]
    for least, most, times in ((0, 1, 2), (2, 3, 4), (4, 5, 3)):
        linear = float(rows[least]["seconds"]) * times
        assert float(rows[most]["linear"]) == pytest.approx(linear, rel=1e-3)

    def quick(name, what, *_):
        return [{"model": name, "grows": what, "size": 1, "seconds": 1, "linear": 1}]

    monkeypatch.setattr(benchmark_growth, "rows", quick)
    both = measure("a2d_tiny")
    assert [row["model"] for row in both] == 4 * ["a2d_tiny"] + 7 * ["c2d_tiny"]
    assert both[4:] == rows
    assert len(measure("c2d_tiny")) == 8, "measured again"


def test_a_model_takes_some_sizes_only():
    numbers = benchmark_growth.numbers
    assert numbers("stpn_bninception", "frames", snippet=10) == [20, 40, 70]
    assert numbers("stpn_bninception", "side", snippet=10) == [128, 160, 224, 320]
    assert numbers("cost_resnet50", "frames", snippet=1) == [8, 16, 32, 64]
