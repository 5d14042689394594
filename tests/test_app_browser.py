"""`stzoo app` in a browser: upload, answer, timeline, saliency, error and cancel.

It needs Chromium, such as that of Debian, and runs with `-m slow`.
"""

import shutil
import time

import numpy as np
import pytest
from app_server import serve
from playwright.sync_api import expect, sync_playwright

from stzoo.data import motions

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed."),
]
SIZES = [(1400, "light"), (390, "dark")]
PATIENCE = 120_000  # milliseconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def address(folder):
    with serve(folder, "--model", "cost_tiny.motions") as (where, _):
        yield where


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as library:
        browser = library.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]} {size[1]}")
def page(request, browser, address):
    """A page, which asks no other host for anything and fits into its window."""
    width, theme = request.param
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(PATIENCE)
    asked = []
    page.on("request", lambda one: asked.append(one.url))
    page.goto(f"{address}/?__theme={theme}")
    expect(page.get_by_role("button", name="Name the action")).to_be_visible()
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert all(url.startswith((address, "blob:", "data:")) for url in asked), asked
    page.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Saves a number of motions, one after the other."""

    def save(name, count):
        path = tmp_path_factory.mktemp("film") / name
        parts = [motions.render(number)[0] for number in range(count)]
        motions.save(path, np.concatenate(parts))
        return path

    return save


def drop(page, path):
    page.locator("#video input[type=file]").first.set_input_files(path)
    expect(page.locator("#video").get_by_label("Clear")).to_be_visible()


def start(page):
    page.get_by_role("button", name="Name the action").click()


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_video_is_answered_and_a_wrong_file_is_an_error(page, film, folder, tmp_path):
    drop(page, film("dance.mp4", 3))
    start(page)
    expect(page.get_by_text("dance.mp4: saliency for")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("label-output-value")).not_to_be_empty()
    expect(page.get_by_text("video = 'dance.mp4'")).to_be_visible()
    timeline = page.locator("#timeline img")
    wait_until(lambda: timeline.evaluate("image => image.naturalWidth") == 1200)
    shown = page.locator("#saliency video")
    wait_until(lambda: shown.evaluate("video => video.videoWidth") == 256)
    assert list(folder.rglob("dance.mp4"))

    page.locator("#video").get_by_label("Clear").click()
    wait_until(lambda: not list(folder.rglob("dance.mp4")))
    wrong = tmp_path / "wrong.mp4"
    wrong.write_text("no video")
    drop(page, wrong)
    start(page)
    message = page.get_by_text("wrong.mp4 cannot be read as a video")
    expect(message).to_be_visible(timeout=PATIENCE)


def test_a_long_video_can_be_cancelled(page, film):
    drop(page, film("long.mp4", 60))
    start(page)
    expect(page.get_by_text("Timeline - ")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Timeline - ")).to_be_hidden(timeout=PATIENCE)
    page.locator("#video").get_by_label("Clear").click()
    drop(page, film("short.mp4", 1))
    start(page)
    expect(page.get_by_text("short.mp4: saliency for")).to_be_visible(timeout=PATIENCE)


def test_an_upload_is_deleted_when_its_page_is_closed(browser, address, film, folder):
    page = browser.new_page()
    page.goto(address)
    drop(page, film("closed.mp4", 1))
    wait_until(lambda: list(folder.rglob("closed.mp4")))
    page.close()
    wait_until(lambda: not list(folder.rglob("closed.mp4")))
