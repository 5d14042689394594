import dataclasses
import errno
import json
import os
import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from huggingface_hub import ModelCard
from PIL import Image

import stzoo
from stzoo.cli import main
from stzoo.cli.options import MODEL
from stzoo.data import motions
from stzoo.data.reading import Reading
from stzoo.data.video import Video
from stzoo.training.recipes import RECIPES


@pytest.fixture
def run():
    def run(*arguments):
        arguments = [str(argument) for argument in arguments]
        if arguments[0] == "predict" and "--model" not in arguments:
            arguments += ["--model", "cost_tiny.motions"]
        return CliRunner().invoke(main, arguments)

    return run


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video [1].mp4"
    motions.save(path, motions.render(5, "falling")[0])
    return path


def test_list(run):
    assert run("list").stdout.split() == stzoo.list_models()
    result = run("list", "cost_*", "--pretrained")
    assert result.exit_code == 0
    header, *rows = result.stdout.splitlines()
    assert header.split()[:4] == ["weights", "classes", "params", "GFLOPs"]
    assert [row.split()[0] for row in rows] == [
        "cost_resnet101.imagenet",
        "cost_resnet152.imagenet",
        "cost_resnet50.imagenet",
        "cost_tiny.motions",
    ]
    assert "98.2 (1x1 views)" in rows[-1] and "in the package" in rows[-1]
    rows = [r.rstrip() for r in run("list", "--pretrained").stdout.splitlines()]
    (row,) = [row for row in rows if row.startswith("stpn_vgg16.imagenet ")]
    assert row.endswith("hf://timm/vgg16.tv_in1k, needs stzoo[flow]")
    (row,) = [row for row in rows if row.startswith("tsm_resnet50.something_v2 ")]
    assert (
        row.split()[1:]
        == (
            "174 something_v2 23.9 M 32.7 62.7 (3 crops) - 95 MB download.openmmlab.com"
        ).split()
    )
    result = run("list", "tsm*50.k*", "--all", "--json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(found) == 7 and {weights["classes"] for weights in found} == {400}
    assert found[0]["labels"][0] == "abseiling"


def test_predict(run, video):
    result = run("predict", video, "--top", 3)
    assert result.exit_code == 0
    assert video.name in result.stdout
    assert "falling" in result.stdout


def test_predict_goes_on_after_a_bad_file(run, video, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    result = run(
        "predict", bad, video, tmp_path / "none.mp4", "--json", "--views", "2x3"
    )
    assert result.exit_code == 1
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert "bad.mp4" in first["error"] and "none.mp4" in third["error"]
    assert "bad.mp4" in result.stderr and "none.mp4" in result.stderr
    assert second["video"] == str(video)
    assert second["answers"][0]["label"] == "falling"
    assert len(second["answers"]) == 5


def test_predict_goes_on_where_one_video_needs_a_library(run, video, monkeypatch):
    def fail(path):
        raise ImportError(f"{path} cannot be opened: aiohttp is missing.")

    monkeypatch.setattr("stzoo.data.files.open_bytes", fail)
    result = run("predict", "http://localhost/a.mp4", video, "--json")
    assert result.exit_code == 1
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["error"].endswith("aiohttp is missing.")
    assert second["answers"][0]["label"] == "falling"


def test_predict_takes_folders_patterns_and_frames(run, video, tmp_path):
    for name, motion in (("b/rising.mp4", "rising"), ("b/c/falling.mp4", "falling")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        motions.save(tmp_path / name, motions.render(5, motion)[0])
    frames = tmp_path / "b" / "frames"
    frames.mkdir()
    for number, frame in enumerate(motions.render(5, "rising")[0]):
        Image.fromarray(frame).save(frames / f"{number:03}.png")
    (tmp_path / "b" / "notes.txt").write_text("no video")
    (tmp_path / "b" / "._rising.mp4").write_text("of a file system")
    result = run("predict", tmp_path / "b", "--json", "--num-workers", 2)
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    names = ["rising.mp4", "c/falling.mp4", "frames"]
    assert [row["video"] for row in rows] == [str(tmp_path / "b" / n) for n in names]
    best = [row["answers"][0]["label"] for row in rows]
    assert best == ["rising", "falling", "rising"]
    assert {row["model"] for row in rows} == {"cost_tiny.motions"}
    pattern = tmp_path / "b" / "*" / "*.mp4"
    (row,) = map(json.loads, run("predict", pattern, "--json").stdout.splitlines())
    assert row["video"].endswith("falling.mp4") and row["answers"] == rows[1]["answers"]
    result = run("predict", tmp_path / "*.nothing")
    assert result.exit_code == 1 and "There is no file" in result.stderr


def test_predict_without_a_network_says_what_to_do(video, hub, monkeypatch):
    def fail(url, part, progress):
        raise ConnectionError(f"{url} did not arrive whole.")

    monkeypatch.setattr("stzoo.weights.url_cache._get", fail)
    result = CliRunner().invoke(main, ["predict", str(video)])
    assert result.exit_code == 1
    assert "tsm_resnet50.kinetics400" in result.stderr
    assert "--model cost_tiny.motions" in result.stderr


def warned(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "stzoo"]


def test_predict_warns_in_one_line(run, video, tmp_path, caplog):
    Image.fromarray(motions.render(5)[0][0]).save(tmp_path / "photo.png")
    assert run("predict", tmp_path / "photo.png").exit_code == 0
    motions.save(tmp_path / "short.mp4", motions.render(5)[0][:7])
    assert run("predict", tmp_path / "short.mp4").exit_code == 0
    assert warned(caplog) == [
        f"{tmp_path}/photo.png is an image, but the model needs a video.",
        f"{tmp_path}/short.mp4 has 7 frames and a clip spans 15, so frames are "
        "repeated.",
    ]
    caplog.clear()
    assert run("predict", video).exit_code == 0 and not warned(caplog)
    stzoo.predict(stzoo.tsn_tiny(), video)
    assert warned(caplog) == [
        "The weights of tsn_tiny may be random, so its predictions would be "
        "meaningless. Build it with pretrained=..., load it, or train it.",
    ]


def test_names_that_are_not_utf_8(run, video, tmp_path):
    good, bad = (tmp_path / os.fsdecode(name) for name in (b"a\xe9.mp4", b"b\xe9.mp4"))
    video.rename(good)
    bad.write_text("no video")
    result = run("predict", good, bad, "--json")
    rows = [json.loads(line) for line in result.stdout_bytes.decode().splitlines()]
    assert [row["video"] for row in rows] == [str(good), str(bad)]
    assert rows[0]["answers"] and str(bad) in rows[1]["error"]
    result = run("predict", good)
    assert result.exit_code == 0 and r"a\udce9.mp4" in result.stdout_bytes.decode()


def test_predict_with_a_folder(run, video, tmp_path):
    model = stzoo.c2d_tiny(classes=2, width=8, depths=(1, 1))
    stzoo.save(model, tmp_path / "mine", labels=["salsa", "tango"])
    result = run("predict", video, "--model", tmp_path / "mine")
    assert "salsa" in result.stdout and "tango" in result.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "cost_tiny",
            "has no tag for the weights. Available weights: cost_tiny.mot",
        ),
        ("cost_tiny.nothing", "is not a tag of cost_tiny"),
        ("nothing.motions", "There is no model"),
    ],
)
def test_a_model_that_is_not_there_is_one_line(run, video, name, message):
    result = run("predict", video, "--model", name)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_bad_views_are_refused_before_any_video(run, video):
    result = run("predict", video, "--views", "10")
    assert result.exit_code == 2
    assert "10x3" in result.stderr


def test_demo(run, tmp_path, monkeypatch):
    result = run("demo", "--out", tmp_path / "new", "--seed", 3)
    assert result.exit_code == 0
    assert "Probability" in result.stdout
    assert (tmp_path / "new" / "demo.mp4").stat().st_size > 1000
    assert (tmp_path / "new" / "demo.png").read_bytes().startswith(b"\x89PNG")
    _, motion, shape = motions.render([3, 2**32 - 1])
    rendered = f"Rendered video: {shape}, {motion}. Prediction: "
    assert f"{rendered}{motion} (correct)." in result.stdout
    wrong = [("waving", 0.9)]
    monkeypatch.setattr(stzoo, "predict", lambda *arguments, **options: wrong)
    result = run("demo", "--out", tmp_path / "new", "--seed", 3)
    assert f"{rendered}waving (wrong)." in result.stdout


def test_from_a_folder_of_videos_to_a_measured_model(run, motion_folder, tmp_path):
    """What `finetune` writes is a model for the other commands."""
    mine, size = tmp_path / "mine", ("--epochs", 1, "--batch-size", 3)
    arguments = (motion_folder, "--model", "cost_tiny.motions", "--recipe", "cost")
    result = run("finetune", *arguments, *size, "--out", mine)
    assert result.exit_code == 0, result.output
    assert "Epoch 1: accuracy" in result.stdout
    again = run("finetune", *arguments, *size, "--out", mine, "--seed", 1)
    assert again.exit_code == 1 and "with different seed" in again.stderr

    out = tmp_path / "measured"
    result = run("evaluate", motion_folder, "--model", mine, "--out", out)
    assert result.exit_code == 0, result.output
    assert "shaking" in result.stdout and "Top-1" in result.stdout
    assert json.loads((out / "evaluation.json").read_text())["videos"] == 6

    out = tmp_path / "features"
    for shard in ("2/2", "1/2"):
        result = run("extract", motion_folder, "--out", out, "--shard", shard)
        assert result.exit_code == 0, result.output
    assert "Saved 6 videos" in result.stdout and "0 not decoded" in result.stdout


@pytest.fixture
def received(monkeypatch):
    """What `stzoo finetune` passes on, instead of a training."""
    seen = {}

    def finetune(model, train, folder, recipe, validation=None, **options):
        seen.update(model=model, recipe=recipe, folder=folder, **options)
        return [{"loss": 1.0}]

    monkeypatch.setattr("stzoo.training.finetune.finetune", finetune)
    return seen


def test_options_of_finetune_reach_the_recipe(run, motion_folder, tmp_path, received):
    command = ("finetune", motion_folder, "--model", "cost_tiny.motions")
    command += ("--out", tmp_path / "mine")
    assert run(*command).exit_code == 0
    assert received["recipe"] == RECIPES["small_data"]
    assert received["patience"] is None and received["class_weight"] is None
    assert received["reading"] == Reading(decoder="av")
    changed = dict(learning_rate=0.07, weight_decay=0.0, dropout=0.25)
    changed |= dict(freeze="backbone", label_smoothing=0.1)
    changed |= dict(mixup=0.8, cutmix=1.0, repeats=2, ema=0.9, layer_decay=0.75)
    changed |= dict(drop_path=0.1, accumulate=2)
    options = [(f"--{k.replace('_', '-')}", v) for k, v in changed.items()]
    options += [("--randaugment", 3, 5.5), ("--rematerialize",)]
    options += [("--optimizer", "sgd"), ("--batch-size", 4), ("--epochs", 3)]
    options += [("--decoder", "torchcodec"), ("--patience", 0)]
    options += [("--class-weight", "balanced"), ("--clip", "4X32x48")]
    result = run(*command, *(part for option in options for part in option))
    assert result.exit_code == 0, result.output
    resized = RECIPES["small_data"].resized(epochs=3, batch_size=4)
    changed |= {"algorithm": "sgd", "randaugment": (3, 5.5), "rematerialize": True}
    assert received["recipe"] == dataclasses.replace(resized, **changed)
    assert received["reading"].decoder == "torchcodec"
    assert received["patience"] == 0 and received["class_weight"] == "balanced"
    assert received["model"].input_shape == (None, 4, 32, 48, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--clip", "8x64"), "expected frames, height and width, such as 16x112x112"),
        (("--clip", "0x64x64"), "Received: '0x64x64'"),
        (("--optimizer", "sgd"), "--optimizer sgd needs --learning-rate, since"),
        (("--learning-rate", 0), "0.0 is not in the range x>0"),
        (("--freeze", "0"), "'0' is not one of 'none', 'norms', 'backbone', 'encoder'"),
        (("--label-smoothing", 1), "1.0 is not in the range 0<=x<1"),
        (("--accumulate", 3), "accumulate must divide batch_size. Received: accumul"),
        (("--randaugment", 2, 11), "11.0 is not in the range 0<=x<=10"),
    ],
)
def test_bad_options_of_finetune_are_refused(
    run, motion_folder, tmp_path, received, options, message
):
    where = ("--model", "cost_tiny.motions", "--out", tmp_path / "mine")
    result = run("finetune", motion_folder, *where, *options)
    assert result.exit_code == 2 and received == {}
    assert message in " ".join(result.stderr.replace("│", "").split())


def test_a_number_of_stages_can_be_frozen(run, motion_folder, tmp_path, received):
    where = ("--model", "cost_tiny.motions", "--out", tmp_path / "mine")
    assert run("finetune", motion_folder, *where, "--freeze", "2").exit_code == 0
    assert received["recipe"].freeze == 2


def test_a_rate_is_found_without_training(
    run, motion_folder, tmp_path, received, monkeypatch
):
    seen = []

    def find_rate(model, train, folder, recipe, **rest):
        seen.append((folder, recipe.mixup, rest))
        return SimpleNamespace(suggested=0.00123)

    monkeypatch.setattr("stzoo.training.rate.find_rate", find_rate)
    command = ("finetune", motion_folder, "--model", "cost_tiny.motions")
    command += ("--out", tmp_path / "mine", "--find-rate", "--mixup", 0.3, "--seed", 5)
    (tmp_path / "pairs.txt").write_text("rising,shaking")
    pairs = str(tmp_path / "pairs.txt")
    command += ("--class-weight", "balanced", "--mirror-pairs", pairs)
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert (
        f"--learning-rate 0.0012 (see {tmp_path / 'mine'}/rates.csv)" in result.stdout
    )
    how = {"seed": 5, "reading": Reading(), "mirror_pairs": pairs}
    how["class_weight"] = "balanced"
    assert seen == [(tmp_path / "mine", 0.3, how)] and not received
    result = run(*command, "--distributed")
    assert result.exit_code == 2 and "uses one device" in result.stderr


def test_a_resumed_run_does_not_say_that_the_head_is_new(
    run, motion_folder, tmp_path, received
):
    command = ("finetune", motion_folder, "--model", "cost_tiny.motions")
    command += ("--out", tmp_path)
    assert "the head of this model is random" in run(*command).stderr
    (tmp_path / "state.npz").touch()
    result = run(*command)
    assert "is random" not in result.stderr and "6 videos" in result.stderr


def test_a_validation_of_other_classes_writes_nothing(run, motion_folder, tmp_path):
    (tmp_path / "other.csv").write_text(f"{motion_folder}/rising/0.mp4,falling\n")
    arguments = (motion_folder, "--model", "cost_tiny.motions", "--recipe", "cost")
    validation = ("--validation", tmp_path / "other.csv", "--root", "/")
    result = run("finetune", *arguments, *validation, "--out", tmp_path / "mine")
    assert result.exit_code == 1 and "'falling' is not one of" in result.stderr
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ((), "turn_left <-> turn_right"),
        (("--mirror-pairs", "pairs.txt"), "run <-> up"),
        (("--no-flip",), "Clips are not mirrored."),
    ],
)
def test_finetune_prints_what_it_understood(run, tmp_path, options, lines):
    for name in ("turn_left", "turn_right", "up", "run"):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "videos" / name / f"{number}.mp4").write_bytes(b"a video")
    (tmp_path / "pairs.txt").write_text("up,run\n")
    stzoo.save(stzoo.c2d_tiny(4, width=4, depths=(1, 1)), tmp_path / "mine")
    options = [tmp_path / o if o == "pairs.txt" else o for o in options]
    arguments = ("--model", tmp_path / "mine", "--recipe", "cost", "--batch-size", 2)
    result = run(
        *("finetune", tmp_path / "videos", *arguments, *options),
        *("--out", tmp_path / "mine"),
    )
    assert result.exit_code == 1 and "already contains a model" in result.stderr
    assert "8 videos of 4 classes. Each folder is a class." in result.stderr
    assert lines in result.stderr
    assert ("turn_left <->" in result.stderr) != ("--no-flip" in options)


def test_pairs_that_have_no_effect_are_refused(run, motion_folder, tmp_path):
    (tmp_path / "pairs.txt").write_text("rising,shaking\n")
    arguments = (motion_folder, "--model", "cost_tiny.motions", "--recipe", "cost")
    options = ("--no-flip", "--mirror-pairs", tmp_path / "pairs.txt")
    result = run("finetune", *arguments, *options, "--out", tmp_path / "mine")
    assert result.exit_code == 2 and "no effect with --no-flip" in result.stderr
    assert not (tmp_path / "mine").exists()


def test_distributed_without_jax_is_one_line(run, motion_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    arguments = (motion_folder, "--model", "cost_tiny.motions", "--recipe", "cost")
    result = run("finetune", *arguments, "--distributed", "--out", tmp_path / "mine")
    assert result.exit_code == 1 and "needs JAX" in result.stderr
    assert not (tmp_path / "mine").exists()


@pytest.fixture
def dances(motion_folder, tmp_path):
    """A model of the classes of two motions, in a folder."""
    size = dict(classes=2, input_shape=(2, 32, 32, 3), width=4, depths=(1, 1))
    labels = ["rising", "shaking"]
    stzoo.save(stzoo.c2d_tiny(**size), tmp_path / "mine", labels=labels)
    return tmp_path / "mine"


def test_push_and_then_add_results(run, hub, dances, motion_folder):
    result = run("push", dances, "me/mine", "--message", "First", "--private")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Uploaded {dances} to {hub.url}/me/mine.\n"
    assert hub.commits[0][2] == "First" and hub.private == {"me/mine"}
    for arguments, count in (
        (("--model", "hf://me/mine", "--push"), 4),
        (("--model", dances, "--push", "me/mine", "--views", "2x1"), 8),
    ):
        result = run("evaluate", motion_folder, *arguments)
        assert result.exit_code == 0, result.output
        assert f"Added the results to the card of {hub.url}/me/mine." in result.stdout
        results = ModelCard.load("me/mine").data.eval_results
        assert len(results) == count
    assert {result.metric_args["videos"] for result in results} == {6}
    assert {result.metric_args["views"] for result in results} == {"1x1", "2x1"}
    assert results[0].metric_args["decoder"].startswith("av ")


def test_what_cannot_be_pushed_is_one_line(run, hub, dances, motion_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    hub.repositories["me/other"] = {"config.json": b"{}"}
    hub.tokens = {"secret": "me"}
    cases = (
        (("push", tmp_path / "empty", "me/mine"), "config.json is missing"),
        (("push", dances, "mine"), "Received: 'mine'"),
        (("push", dances, "me/mine"), "hf auth login"),
        (("evaluate", motion_folder, "--push", "me/none"), "no such repository"),
        (
            ("evaluate", motion_folder, "--push", "me/other"),
            "config of a model of stzoo",
        ),
    )
    for arguments, message in cases:
        result = run(*arguments)
        assert result.exit_code == 1 and message in result.stderr, result.output
        assert "Traceback" not in result.stderr
    result = run("evaluate", motion_folder, "--push")
    assert (
        result.exit_code == 2
        and "--push needs the name of a repository" in result.stderr
    )
    assert hub.commits == []


@pytest.mark.parametrize("shard", ["3", "0/2", "3/2", "a/b"])
def test_bad_shards_are_refused(run, motion_folder, tmp_path, shard):
    result = run("extract", motion_folder, "--out", tmp_path / "x", "--shard", shard)
    assert result.exit_code == 2 and "shard" in result.stderr
    assert not (tmp_path / "x").exists()


def test_evaluate_says_which_videos_are_not_decoded(run, one_broken, tmp_path):
    lines = zip(one_broken.paths, one_broken.labels, strict=True)
    text = "".join(f"{path},{one_broken.classes[label]}\n" for path, label in lines)
    (tmp_path / "list.csv").write_text(text)
    result = run("evaluate", tmp_path / "list.csv", "--root", "/")
    assert result.exit_code == 0, result.output
    assert "broken.mp4" in result.stderr
    assert "6 videos" in result.stdout


def test_explain_a_video(run, video, tmp_path):
    out = tmp_path / "new"
    result = run("explain", video, "--out", out, "--layer", "layer3_1_relu")
    assert result.exit_code == 0
    assert "saliency for falling in cost_tiny.motions" in result.stdout
    assert (out / "video [1]_saliency.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "video [1]_saliency.mp4").stat().st_size > 1000
    result = run("explain", video, "--out", out, "--class", "rising")
    assert "saliency for rising" in result.stdout


def test_explain_data(run, motion_folder, tmp_path):
    result = run("explain", motion_folder, "--out", tmp_path, "--model", MODEL)
    assert result.exit_code == 0
    assert "cost_tiny.motions: 6 videos" in result.stdout
    assert "layer4_1_conv2" in result.stdout and "shaking" in result.stdout
    assert (tmp_path / "contributions.csv").read_text().startswith("scope,name,videos")
    for name in ("by_layer", "by_class", "by_channel"):
        assert f"{name}.png" in result.stdout and (tmp_path / f"{name}.png").exists()


def test_explain_weights(run, tmp_path):
    small = dict(classes=2, width=8, depths=(2, 1, 1, 1))
    stzoo.save(stzoo.cost_tiny(variant="a", **small), tmp_path / "mine")
    out = tmp_path / "out"
    result = run("explain", "--model", tmp_path / "mine", "--out", out)
    assert result.exit_code == 0
    assert "cost_tiny: from the weights" in result.stdout
    assert (out / "by_layer.png").exists() and not (out / "by_class.png").exists()


def test_what_cannot_be_explained_is_one_line(run, video, motion_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    small = dict(classes=5, width=8, depths=(2, 1, 1, 1))
    stzoo.save(stzoo.c2d_tiny(**small), tmp_path / "c2d")
    stzoo.save(stzoo.cost_tiny(**small), tmp_path / "five")
    huge = stzoo.c2d_tiny(**small)  # a folder with NaN is not even loaded
    kernel = huge.get_layer("fc").kernel
    kernel.assign(np.full(kernel.shape, 3e38))
    stzoo.save(huge, tmp_path / "huge")
    for message, *arguments in (
        ("c2d_tiny has no coefficients", motion_folder, "--model", tmp_path / "c2d"),
        ("logits of c2d_tiny contain NaN", video, "--model", tmp_path / "huge"),
        ("has 2 classes, cost_tiny has 5", motion_folder, "--model", tmp_path / "five"),
        ("empty has no videos", tmp_path / "empty"),
        ("depend on the clip", "--out", tmp_path),
        ("cost_tiny has no layer 'layer9'", video, "--layer", "layer9"),
        (
            "cost_tiny has no coefficients in 'layer9'",
            motion_folder,
            "--layer",
            "layer9",
        ),
        ("'salsa' is not one of the 12 classes", video, "--class", "salsa"),
        ("There is no file none.mp4", "none.mp4"),
        ("none.csv", "none.csv"),
    ):
        result = run("explain", *arguments, "--out", tmp_path / "out")
        assert result.exit_code == 1 and message in result.stderr, result.stderr
        assert result.stderr.strip().count("\n") == 0
    assert not list((tmp_path / "out").glob("*"))
    assert "--label needs DATA" in run("explain", video, "--label", "shape").stderr
    assert "--class needs a VIDEO" in run("explain", "--class", "falling").stderr
    assert "Received: no VIDEO or DATA" in run("explain", "--skip").stderr


def test_stream(run, tmp_path):
    frames = np.concatenate([motions.render([9, i], "falling")[0] for i in range(3)])
    motions.save(tmp_path / "long.mp4", frames)
    names = ("a.csv", "a.srt", "a.png", "a.mp4")
    table, subtitles, picture, film = (tmp_path / name for name in names)
    command = ("stream", tmp_path / "long.mp4", "--model", "cost_tiny.motions")
    command += ("--every", "0.5", "--span", "1.75")
    files = ("--csv", table, "--srt", subtitles, "--timeline", picture)
    result = run(*command, "--events", *files, "--overlay", film)
    assert result.exit_code == 0, result.output
    windows = [line for line in result.stdout.splitlines() if " to " in line]
    assert windows[0].startswith("0:00:00.0 to 0:00:01.8  ")
    assert any(line.startswith("Event: 0:00:0") for line in windows)
    rows = table.read_text().splitlines()
    assert rows[0] == "start,end,label,probability" and len(rows) == 9
    assert rows[1].startswith("0.000,1.750,")
    assert subtitles.read_text().startswith("1\n00:00:00,000 --> ")
    with Image.open(picture) as image:
        assert image.width == 1200
    with Video(film) as video:
        assert len(video) == 63
    lines = run(*command, "--json", "--top", "2", "--threshold", "0").stdout
    found = [json.loads(line) for line in lines.splitlines()]
    assert [line["start"] for line in found] == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    assert all(len(line["answers"]) == 2 and line["dropped"] == 0 for line in found)


def test_stream_shows_what_was_asked_for(run, video):
    command = ("stream", video, "--model", "cost_tiny.motions")
    assert "falling" in run(*command).stdout
    assert run(*command, "--only", "rising", "--threshold", "0.9").stdout == ""
    result = run(*command, "--only", "flying")
    assert result.exit_code == 1 and "has no class 'flying'" in result.stderr
    result = run("stream", "0", "--overlay", "a.mp4", "--model", "cost_tiny.motions")
    assert result.exit_code == 2 and "--overlay needs a video file" in result.stderr
    result = run(*command, "--csv", video.parent / "none" / "a.csv")
    assert result.exit_code == 1 and "There is no folder" in result.stderr


def test_stream_ends_at_ctrl_c_with_what_it_has(run, video, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        yield from windows
        raise KeyboardInterrupt

    model = stzoo.cost_tiny(pretrained="motions")
    windows = list(stzoo.stream(model, video))
    monkeypatch.setattr(stzoo, "stream", interrupted)
    table = tmp_path / "a.csv"
    command = ("stream", video, "--model", "cost_tiny.motions", "--csv", table)
    result = run(*command)
    assert result.exit_code == 0 and "Stopped." in result.stderr
    assert len(table.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("command", "target"),
    [
        ("evaluate", "inference.evaluate.evaluate"),
        ("extract", "inference.extract.extract"),
        ("probe", "training.probe.probe"),
        ("finetune", "training.finetune.finetune"),
    ],
)
def test_ctrl_c_says_what_was_kept_and_how_to_go_on(
    run, tmp_path, monkeypatch, command, target
):
    def interrupted(*args, **kwargs):
        if writes:
            (tmp_path / "out").mkdir()
        raise KeyboardInterrupt

    (tmp_path / "videos" / "rising").mkdir(parents=True)
    motions.save(tmp_path / "videos" / "rising" / "0.mp4", motions.render(0)[0])
    monkeypatch.setattr(f"stzoo.{target}", interrupted)
    words = (command, tmp_path / "videos", "--model", "cost_tiny.motions")
    for writes in (False, True):
        result = run(*words, "--out", tmp_path / "out")
        assert result.exit_code == 130, result.output
        kept = f"What is complete is in {tmp_path / 'out'}. The same command resumes."
        said = f"Stopped. {kept if writes else 'Nothing was saved.'}"
        assert result.stderr.splitlines()[-1] == said


@pytest.fixture
def signals():
    """Restores what the process does with the signals that end it."""
    numbers = signal.SIGTERM, signal.SIGHUP
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_sigterm_ends_a_stream_like_ctrl_c(run, video, tmp_path, monkeypatch, signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    original = stzoo.stream

    def ended(*args, **kwargs):
        yield next(original(*args, **kwargs))
        os.kill(os.getpid(), signal.SIGTERM)
        yield

    monkeypatch.setattr(stzoo, "stream", ended)
    table = tmp_path / "windows.csv"
    result = run("stream", video, "--model", "cost_tiny.motions", "--csv", table)
    assert (result.exit_code, result.stderr) == (0, "Stopped.\n")
    assert len(table.read_text().splitlines()) == 2
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_reader_that_leaves_the_pipe_is_no_error(run, video, monkeypatch):
    def left(*args, **kwargs):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("stzoo.cli.streaming._watch", left)
    result = run("stream", video, "--model", "cost_tiny.motions")
    assert (result.exit_code, result.output) == (1, "")


def test_ctrl_c_in_another_command(run, video, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("stzoo.inference.predict.predict_videos", interrupted)
    result = run("predict", video)
    assert (result.exit_code, result.stderr) == (130, "\nStopped.\n")


def test_no_progress_bar_is_written_to_a_pipe(run, video):
    result = run("predict", video, video)
    assert result.exit_code == 0 and result.stderr == ""


def test_predict_points_to_stream_for_a_long_video(run, tmp_path, caplog):
    frames = np.concatenate([motions.render([9, i])[0] for i in range(8)])
    motions.save(tmp_path / "long.mp4", frames)
    run("predict", tmp_path / "long.mp4")
    assert "sees 8 of the 168 frames" in caplog.text
    assert "`stzoo stream` answers for each moment" in caplog.text
    caplog.clear()
    run("predict", tmp_path / "long.mp4", "--views", "10x1")
    assert "stzoo stream" not in caplog.text


def test_split_and_probe(run, tmp_path):
    for number in range(16):
        motion = ("rising", "shaking")[number % 2]
        folder = tmp_path / "data" / motion
        folder.mkdir(parents=True, exist_ok=True)
        motions.save(
            folder / f"person{number // 2 % 4}_{number}.mp4",
            motions.render(number, motion)[0],
        )
    result = run("split", tmp_path / "data", "--out", tmp_path, "--test", "0.25")
    assert result.exit_code == 0, result.output
    assert "(12 videos) and" in result.stdout and "(4 videos)" in result.stdout
    assert "4 groups (person)" in result.stderr
    lists = tmp_path / "train.csv", "--validation", tmp_path / "test.csv"
    command = ("probe", *lists, "--model", "cost_tiny.motions")
    result = run(*command, "--out", tmp_path / "mine", "--views", "1x1")
    assert result.exit_code == 0, result.output
    assert "rising: 100.0 % of 6 videos" in result.stdout
    assert "fold cross-validation of 12 videos: 100.0 %" in result.stdout
    assert "Accuracy on the validation videos: 100.0 %." in result.stdout
    result = run("evaluate", tmp_path / "test.csv", "--model", tmp_path / "mine")
    assert "Top-1: 100.00 %" in result.stdout


@pytest.fixture
def several(tmp_path):
    """A model of twelve labels with a probability of 0.5. It always gives the first."""
    model = stzoo.cost_tiny(pretrained="motions")
    for weight in model.get_layer("fc").weights:
        weight.assign(0 * weight)
    kind = {"multi_label": True, "thresholds": (0.5,) + (0.6,) * 11}
    model.stzoo = dataclasses.replace(model.stzoo, **kind)
    stzoo.save(model, tmp_path / "several", labels=motions.CLASSES)
    return tmp_path / "several"


def test_several_labels_in_the_shell(run, several, video):
    first = motions.CLASSES[0]
    where = ("--model", several)
    result = run("predict", video, *where, "--json")
    (answer,) = json.loads(result.stdout)["answers"]
    assert answer["label"] == first
    line = "none of the classes"
    result = run("predict", video, *where, "--threshold", 1)
    assert result.exit_code == 0 and result.stdout.endswith(f": {line}\n")
    assert (
        json.loads(run("predict", video, "--threshold", 1, "--json").stdout)["answers"]
        == []
    )
    result = run("stream", video, *where, "--events", "--span", 1.75)
    assert [
        text.split("  ")[1].rsplit(" ", 2)[0] for text in result.stdout.splitlines()
    ] == [
        first,
        first,
    ]
    result = run("stream", video, *where, "--threshold", 1, "--span", 1.75)
    assert result.stdout.split("  ")[1] == f"{line}\n"

    listed = video.parent / "list.csv"
    row = [name == first or name == "falling" for name in motions.CLASSES]
    header = ",".join(("path", *motions.CLASSES))
    listed.write_text(f"{header}\n{video.name},{','.join(map(str, row))}\n")
    out = video.parent / "out"
    result = run("evaluate", listed, *where, "--out", out)
    assert "Macro precision: 50.00 %" in result.stdout
    assert "Micro recall: 50.00 %" in result.stdout and "Top-1" not in result.stdout
    assert sorted(path.name for path in out.iterdir()) == [
        *("classes.csv", "evaluation.json", "parts")
    ]
    result = run("evaluate", listed, *where, "--single-label")
    assert result.exit_code == 1 and "Pass the class column" in result.output
