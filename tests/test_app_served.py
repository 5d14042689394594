"""What `stzoo app` answers, refuses and deletes, over HTTP without a browser."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from app_server import ask, connect, serve, upload

import stzoo
from stzoo.data import motions

pytestmark = pytest.mark.slow
MODEL = "cost_tiny.motions"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / f"{number}.mp4" for number in range(20)]
    for number, path in enumerate(paths):
        motions.save(path, motions.render(number)[0])
    return paths


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with serve(folder, "--model", MODEL, "--model", "cstm_tiny.motions") as (where, _):
        yield where


@pytest.fixture
def client(address):
    with connect(address) as client:
        yield client


def test_twenty_people_get_their_own_answers(address, videos):
    def person(path):
        with connect(address) as client:
            return ask(client, upload(client, path), MODEL)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(person, videos))
    model = stzoo.cost_tiny(pretrained="motions")
    for path, (event, parts) in zip(videos, answers, strict=True):
        label, timeline, film, note, code = parts
        found = {row["label"]: row["confidence"] for row in label["confidences"]}
        assert event == "complete"
        assert found == pytest.approx(dict(stzoo.predict(model, path)), abs=1e-4)
        assert f"video = '{path.name}'" in code and note.startswith(path.name)


def test_results_can_be_read(client, videos):
    _, (_, timeline, film, _, _) = ask(client, upload(client, videos[0]), MODEL)
    for file, start in ((timeline, b"\x89PNG"), (film, b"\0\0\0 ftyp")):
        assert client.get(f"/gradio_api/file={file['path']}").content.startswith(start)


def test_errors_are_those_of_the_library(client, videos, tmp_path):
    for name, text, expected in (
        ("bad.mp4", "no video", "bad.mp4 cannot be read as a video: "),
        ("<b>.mp4", "no video", "b.mp4 cannot be read as a video: "),
        ("a.m3u8", "#EXTM3U", "a.m3u8 is not a video. Its name must end with .3gp"),
        ("empty.mp4", "", "empty.mp4 is empty (0 bytes). Copy it again."),
    ):
        (tmp_path / name).write_text(text)
        event, data = ask(client, upload(client, tmp_path / name), MODEL)
        assert event == "error" and data["error"].startswith(expected), data
    event, data = ask(client, upload(client, videos[0]), str(tmp_path))
    assert event == "error"  # a model that is not offered


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", __file__, "../../etc/passwd", "/proc/self/environ"),
        *("file:///etc/passwd", "http://127.0.0.1:9/a.mp4", "rtsp://127.0.0.1:9/"),
    ],
)
def test_no_other_file_is_read(client, path, videos):
    for route in ("file=", "file/"):
        assert client.get(f"/gradio_api/{route}{path}").status_code in (403, 404)
    event, data = ask(client, path, MODEL)
    assert event == "error" and "root:" not in str(data)
    inside = Path(upload(client, videos[0])).parent
    assert client.get(f"/gradio_api/file={inside}/../../{path}").status_code in (
        403,
        404,
    )
    assert client.get(f"/gradio_api/file={inside}").status_code == 403


def test_a_large_upload_is_refused(client, tmp_path):
    with open(tmp_path / "large.mp4", "wb") as file:
        file.truncate(201 * 1024**2)
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        upload(client, tmp_path / "large.mp4")


def test_files_are_deleted_after_some_time(tmp_path, videos):
    with (
        serve(tmp_path, "--model", MODEL, kept=60) as (where, _),
        connect(where) as client,
    ):
        path = upload(client, videos[0])
        _, (_, timeline, film, _, _) = ask(client, path, MODEL)
        paths = [path, timeline["path"], film["path"]]
        assert all(Path(one).exists() for one in paths)
        end = time.monotonic() + 120
        while any(Path(one).exists() for one in paths):
            assert time.monotonic() < end
            time.sleep(0.5)
        assert client.get(f"/gradio_api/file={path}").status_code == 403
        event, data = ask(client, path, MODEL)
        assert (event, "0.mp4 is not on the server" in data["error"]) == ("error", True)


def test_a_password_is_asked_for_everything(tmp_path, videos):
    words = {"STZOO_APP_PASSWORD": "a secret"}
    options = ("--model", MODEL, "--host", "0.0.0.0")
    with (
        serve(tmp_path, *options, **words) as (where, printed),
        connect(where.replace("0.0.0.0", "127.0.0.1")) as client,
    ):
        assert "secret" not in printed
        for route in ("config", "gradio_api/info", "gradio_api/file=/etc/passwd"):
            assert client.get(f"/{route}").status_code == 401, route
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            upload(client, videos[0])
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            ask(client, str(videos[0]), MODEL)
        for word, status in (("wrong", 400), ("a secret", 200)):
            sent = {"username": "stzoo", "password": word}
            assert client.post("/login", data=sent).status_code == status
        assert ask(client, upload(client, videos[0]), MODEL)[0] == "complete"
