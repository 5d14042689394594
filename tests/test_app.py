"""The parts of the page of `stzoo app`, without a server."""

import asyncio
import contextlib
import gc
import os
import re
import runpy
import shutil
import signal
import sys
import threading
import weakref
from importlib.metadata import metadata
from pathlib import Path
from types import SimpleNamespace

import av
import gradio
import numpy as np
import pytest
from click.testing import CliRunner
from huggingface_hub import RepoCard
from PIL import Image

import stzoo
from stzoo import app
from stzoo.app import answers as parts
from stzoo.app import page as pages
from stzoo.app import uploads as kept
from stzoo.cli import main
from stzoo.data import motions
from stzoo.data.video import Video

MODEL = "cost_tiny.motions"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A film of three motions, of about five seconds."""
    parts = [motions.render(5, name)[0] for name in ("falling", "rising", "shaking")]
    path = tmp_path_factory.mktemp("film") / "it's.mp4"
    motions.save(path, np.concatenate(parts))
    return str(path)


@pytest.fixture(scope="module")
def model():
    return stzoo.cost_tiny(pretrained="motions")


def seen(model, path, folder):
    """All parts of an answer, and the steps of its progress."""
    steps, found = [], {}
    for part in parts.answers(
        model, MODEL, path, folder, lambda share, desc: steps.append((desc, share))
    ):
        found |= part
    return found, steps


@pytest.fixture(scope="module")
def answer(model, video, tmp_path_factory):
    return seen(model, video, tmp_path_factory.mktemp("answer"))


def test_an_answer_has_label_timeline_saliency_and_code(answer, model, video):
    found, steps = answer
    assert found["label"] == dict(stzoo.predict(model, video))
    with Image.open(found["timeline"]) as picture:
        assert picture.width == 1200
    with Video(found["film"]) as film:
        assert film.size == (256, 256)
    best = next(iter(found["label"]))
    assert found["note"] == f"it's.mp4: saliency for {best} in cost_tiny.motions"
    shares = [share for desc, share in steps if desc == "Timeline"]
    assert len(shares) > 3 and shares == sorted(shares) and 0.9 < shares[-1] <= 1
    assert [desc for desc, _ in steps if desc != "Timeline"] == ["Answer", "Saliency"]


def test_the_parts_of_an_answer_come_in_order(tmp_path, monkeypatch):
    """Its windows end after 1, 4 and 9 of 4 seconds."""
    asked, closed, ends = [], [], (1.0, 4.0, 9.0)

    def stream(model, path, every):
        asked.append((model, path, every))
        try:
            for end in ends:
                yield SimpleNamespace(end=end, probabilities=[end], labels=("a", "b"))
        finally:
            closed.append(True)

    def draw(spans, probabilities, labels, rows, width):
        asked.append((spans, probabilities, labels))
        return b"picture"

    def explain(*args):
        asked.append(args)
        return "a title", None, (None, Path("film.mp4"))

    monkeypatch.setattr(parts, "measured", lambda path: (4.0, 0.5))
    monkeypatch.setattr(stzoo, "predict", lambda model, path: [("b", 0.9), ("a", 0.1)])
    monkeypatch.setattr(stzoo, "stream", stream)
    monkeypatch.setattr(parts.events, "spans", lambda found: [w.end for w in found])
    monkeypatch.setattr(parts, "timeline", draw)
    monkeypatch.setattr(parts.reports, "of_video", explain)
    steps = []
    found = list(
        parts.answers(
            *("model", "runs/mine", "up/film.mp4", tmp_path),
            lambda share, desc: steps.append((desc, share)),
        )
    )
    label, *windows, timeline, film = found
    assert label["label"] == {"b": 0.9, "a": 0.1}
    assert label["code"] == parts.code("runs/mine", "film.mp4", 0.5)
    assert windows == [{}, {}, {}] and closed == [True]
    assert timeline == {"timeline": str(tmp_path / "timeline.png")}
    assert (tmp_path / "timeline.png").read_bytes() == b"picture"
    assert film == {"film": "film.mp4", "note": "a title"}
    assert asked == [
        ("model", "up/film.mp4", 0.5),
        (list(ends), [[1.0], [4.0], [9.0]], ("a", "b")),
        ("model", tmp_path, "up/film.mp4"),
    ]
    shares = [("Timeline", share) for share in (0.25, 1, 1)]
    assert steps == [("Answer", 0), *shares, ("Saliency", 0)]


def test_the_code_computes_what_the_page_shows(answer, video, monkeypatch):
    names, (found, steps) = {}, answer
    monkeypatch.chdir(Path(video).parent)
    exec(found["code"], names)
    assert dict(names["answers"]) == pytest.approx(found["label"])
    assert len(names["windows"]) == sum(desc == "Timeline" for desc, _ in steps)
    assert Path("explained", "it's_saliency.mp4").exists()


def test_code_of_a_folder():
    assert "model = stzoo.load('runs/mine')\n" in parts.code("runs/mine", "a.mp4", 1.0)


def test_a_model_without_saliency_has_an_answer(model, video, tmp_path, monkeypatch):
    def refuse(*args):
        raise ValueError("two streams")

    monkeypatch.setattr(parts.reports, "of_video", refuse)
    found, _ = seen(model, video, tmp_path)
    assert found["note"] == "No saliency: two streams"
    assert "film" not in found and found["label"] and found["timeline"]
    assert found["code"] == parts.code(MODEL, "it's.mp4", 0.5, has_saliency=False)
    assert found["code"].startswith('import stzoo\n\nvideo = "it\'s.mp4"\n')
    assert "stzoo.stream(" in found["code"] and "of_video" not in found["code"]


def test_old_files_are_deleted(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    kept.delete_old(tmp_path, 60)
    assert len(list(tmp_path.rglob("file"))) == 2
    kept.delete_old(tmp_path, -1)
    kept.delete_old(tmp_path, -1)  # the folders
    assert not list(tmp_path.iterdir())


def test_old_files_are_deleted_until_the_folder_is_gone(tmp_path, monkeypatch):
    """The clock of this test is one of hours, and a sleep lets it go on."""
    file, slept = tmp_path / "page" / "file", []
    file.parent.mkdir()
    file.touch()
    start = file.stat().st_ctime

    def sleep(seconds):
        slept.append(file.exists())
        now.time = lambda: start + seconds * len(slept)
        if not any(tmp_path.iterdir()):
            tmp_path.rmdir()

    now = SimpleNamespace(sleep=sleep)
    monkeypatch.setattr(kept, "time", now)
    kept.clean(tmp_path)
    # After 1 hour and 3 minutes, then its folder.
    assert slept == [True] * 21 + [False] * (len(slept) - 21) and len(slept) < 60


def test_no_file_outside_of_the_folder_is_an_upload(tmp_path, video):
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "link.mp4").symlink_to(video)
    uploads = kept.Uploads(folder)
    for path in (video, f"{folder}/link.mp4", f"{folder}/../uploads/x", "http://a/b"):
        for use in (uploads.check, lambda path: uploads.hold("page", path)):
            with pytest.raises(ValueError, match="is not on the server"):
                use(path)
    with pytest.raises(ValueError, match="Drop one first"):
        uploads.check(None)
    uploads.hold("page", None)
    assert Path(video).exists()


@pytest.mark.parametrize("kind", ["playlist.m3u8", "list.mp4", "words.txt", "0.mp4"])
def test_a_playlist_is_refused_as_it_names_other_files(kind, video, tmp_path):
    shutil.copy(video, tmp_path / "other.mp4")
    text = "ffconcat version 1.0\nfile other.mp4\n"
    if kind.endswith(".m3u8"):
        with av.open(video) as source, av.open(tmp_path / "other.ts", "w") as output:
            stream = output.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                packet.stream = stream
                if packet.dts is not None:
                    output.mux(packet)
        text = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:5,\n"
        text += f"{tmp_path}/other.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / kind).write_text("" if kind.startswith("0") else text)
    if kind.partition(".")[0] in ("playlist", "list"):  # the library reads it
        assert len(Video(tmp_path / kind))
    with pytest.raises(ValueError, match=kind):
        parts.measured(str(tmp_path / kind))


def test_long_videos_have_longer_steps_or_are_refused(video, monkeypatch):
    seconds, every = parts.measured(video)
    assert 4 < seconds < 8 and every == 0.5
    monkeypatch.setattr(parts, "WINDOWS", 4)
    assert parts.measured(video)[1] == pytest.approx(1.3)  # of 5.2 s
    monkeypatch.setattr(parts, "WINDOWS", 5)
    assert parts.measured(video)[1] == pytest.approx(1.1)  # 1.0 would be six windows
    monkeypatch.setattr(parts, "LONGEST", 1)
    with pytest.raises(
        ValueError, match=r"mp4 lasts 5.* s, but the page takes at most"
    ):
        parts.measured(video)


def test_frames_without_times_are_thirty_a_second(monkeypatch):
    @contextlib.contextmanager
    def open_video(path):
        yield frames

    container = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(parts, "check_source", lambda path: (path, path))
    monkeypatch.setattr(parts, "open_container", lambda *_, **__: (container, None))
    monkeypatch.setattr(parts, "open_video", open_video)

    class Frames(list):
        seconds = None

    frames = Frames(range(9000))
    assert parts.measured("a.mp4") == (300, 3.0)
    frames.seconds = [0.0, 600.0]
    assert parts.measured("a.mp4") == (600, 6.0)
    frames.seconds = [0.0, 600.1]
    with pytest.raises(ValueError, match="at most 10 minutes. Cut it, or use"):
        parts.measured("a.mp4")


def test_folders_and_repositories_are_offered_by_their_names(tmp_path):
    names = [str(tmp_path), "hf://me/mine", "cstm_tiny.motions"]
    assert parts.offered(names) == [
        *((name, name) for name in names[:2]),
        ("cstm_tiny.motions (included)", "cstm_tiny.motions"),
    ]
    (text,) = (text for text, name in parts.offered() if name == pages.DEFAULT)
    (one,) = stzoo.list_models(pages.DEFAULT, pretrained=True)
    assert text == f"{pages.DEFAULT} ({round(one.download / 10**6)} MB)"


def test_offered_models():
    names = [name for _, name in parts.offered()]
    assert names[0] == MODEL and pages.DEFAULT in names
    assert names.index("stpn_tiny.motions") < names.index(pages.DEFAULT)
    assert not any(name.endswith((".imagenet", ".ssl")) for name in names)
    known = {one.name for one in stzoo.list_models(pretrained=True)}
    assert set(names) < known
    assert parts.offered([MODEL]) == [(f"{MODEL} (included)", MODEL)]
    with pytest.raises(ValueError, match="no available weights 'nothing'"):
        parts.offered(["nothing"])


def test_one_model_is_in_memory(tmp_path):
    models = parts.Models()
    first = models.get(MODEL)
    assert models.get(MODEL) is first
    first = weakref.ref(first)
    loaded = models.get("cstm_tiny.motions")
    gc.collect()
    assert first() is None
    assert loaded.stzoo.name == "cstm_tiny.motions"
    with pytest.raises(OSError):
        models.get(str(tmp_path))
    assert models.get(MODEL).stzoo.name == MODEL


def test_an_upload_is_deleted_when_no_page_has_it(tmp_path):
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.touch()
    first, second = paths
    uploads = kept.Uploads(tmp_path)
    uploads.hold("one", str(first))
    uploads.hold("other", str(first))
    uploads.hold("one", str(second))
    assert first.exists()
    uploads.hold("one", str(second))
    assert second.exists()
    uploads.hold("other", None)
    assert not first.exists() and second.exists()
    uploads.hold("one", None)
    uploads.hold("one", None)
    assert not second.exists()
    first.touch()
    uploads.hold("one", str(first))
    first.unlink()  # as it is old
    uploads.hold("one", None)


def test_a_cancelled_answer_stops_reading(model, video, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "SHORTEST", 0.02)
    monkeypatch.setattr(parts, "WINDOWS", 1000)
    found = parts.answers(model, MODEL, video, tmp_path, lambda share, desc: None)
    for _ in range(3):
        next(found)
    assert "stzoo-stream" in [thread.name for thread in threading.enumerate()]
    found.close()
    assert "stzoo-stream" not in [thread.name for thread in threading.enumerate()]


@pytest.fixture
def in_a_loop(tmp_path, monkeypatch):
    """A function that calls another one. Gradio leaves loops open if none runs."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "")

    async def call(function, *args):
        return function(*args)

    return lambda *args: asyncio.run(call(*args))


def test_the_page_has_one_queue_and_a_folder_of_its_own(in_a_loop, tmp_path):
    page = in_a_loop(app.build, [MODEL])
    (folder,) = tmp_path.iterdir()
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert folder.stat().st_mode & 0o777 == 0o700
    (answer,) = [fn for fn in page.fns.values() if fn.api_name == "answer"]
    assert answer.concurrency_limit in (1, "default")
    assert page._queue.default_concurrency_limit == 1
    assert page._queue.max_size == pages.WAITING


def test_the_space_builds_its_page(in_a_loop):
    space = Path(__file__).parents[1] / "weights" / "space"
    names = in_a_loop(runpy.run_path, str(space / "app.py"))
    assert isinstance(names["demo"], gradio.Blocks)
    (choices,) = [
        block.choices
        for block in names["demo"].blocks.values()
        if isinstance(block, gradio.Dropdown)
    ]
    assert tuple(name for _, name in choices) == names["MODELS"]
    card = RepoCard.load(space / "README.md").data
    assert (card.sdk, card.license) == ("gradio", "apache-2.0")
    assert (space / card.app_file).exists()
    (line,) = (space / "requirements.txt").read_text().split()
    extras = re.fullmatch(r"stzoo\[([\w,]+)\]", line)[1].split(",")
    assert set(extras) <= set(metadata("stzoo").get_all("Provides-Extra")) | {"app"}


def test_gradio_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = CliRunner().invoke(main, ["app", "--model", MODEL])
    assert result.exit_code == 1
    assert 'Install them: `pip install "stzoo[app]"`.' in result.output


@pytest.mark.parametrize(
    ("options", "environ", "expected"),
    [
        ((), None, None),
        (("--host", "::1"), None, None),
        (("--host", "localhost"), "secret", "secret"),
        (("--password", "secret"), None, "secret"),
        (("--host", "0.0.0.0"), None, "new"),
        (("--host", "::"), None, "new"),
        (("--host", "example.org"), None, "new"),
        (("--host", "0.0.0.0", "--password", "secret"), None, "secret"),
        (("--host", "0.0.0.0"), "secret", "secret"),
    ],
)
def test_hosts_and_passwords(options, environ, expected, monkeypatch):
    launched = {}

    class Page:
        local_url = "http://here/"

        def block_thread(self):
            launched["blocked"] = True

    monkeypatch.setattr(app, "build", lambda names: Page())
    monkeypatch.setattr(app, "launch", lambda page, **options: launched.update(options))
    monkeypatch.setattr(signal, "signal", lambda *args: None)
    result = CliRunner(env={"STZOO_APP_PASSWORD": environ}).invoke(
        main, ["app", *options]
    )
    assert result.exit_code == 0, result.output
    assert launched["blocked"] and "Open http://here/" in result.output
    found = launched["auth"] and launched["auth"][1]
    if expected == "new":
        assert len(found) >= 16 and found in result.output
    else:
        assert found == expected and "password" not in result.output
    assert "secret" not in result.output
    host = options[1] if "--host" in options else "127.0.0.1"
    assert launched["server_name"] == (f"[{host}]" if ":" in host else host)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--password", ""), "the password is empty"),
        (("--model", "nothing"), "no available weights 'nothing'"),
        (("--port", "0"), "0 is not in the range"),
    ],
)
def test_wrong_options(options, message):
    result = CliRunner().invoke(main, ["app", *options])
    assert result.exit_code in (1, 2) and message in result.output
