"""The documents are complete: pages, links, public names, and quoted messages."""

import ast
import re
from pathlib import Path

import pytest

import stzoo
from stzoo import zoo

ROOT = Path(__file__).parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *(
        page
        for name in ("docs", "benchmarks", "studies")
        for page in ROOT.glob(f"{name}/**/*.md")
    ),
]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 180


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    for link, _, part in re.findall(r"\]\(([^)#\s]*)(#([^)]*))?\)", text):
        if "://" in link:
            continue
        target = page.parent / link if link else page
        assert target.exists(), link
        if part:
            titles = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), flags=re.M)
            assert part in [title.lower().replace(" ", "-") for title in titles], part


def test_the_site_has_every_page():
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2]
    for page in ROOT.glob("docs/**/*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in nav
    for page in ROOT.glob("studies/**/*.md"):
        assert page.relative_to(ROOT).as_posix() in nav


def test_the_reference_has_every_public_name():
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    for name in stzoo.__all__:
        if name == "layers":
            listed = [getattr(stzoo.layers, key) for key in dir(stzoo.layers)]
            listed = [one for one in listed if isinstance(one, type)]
        elif name in zoo.BUILDERS:
            page = zoo.BUILDERS[name].__module__.rpartition(".")[2]
            page = ROOT / "docs" / "models" / f"{page}.md"
            assert f"\n::: {zoo.BUILDERS[name].__module__}\n" in page.read_text("utf-8")
            continue
        else:
            listed = [getattr(stzoo, name)]
        for one in listed:
            assert f"\n::: {one.__module__}.{one.__name__}\n" in text, name


def words_of(path):
    """The texts of a module, where a value that is filled in is a space."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                getattr(part, "value", None) if isinstance(part, ast.Constant) else " "
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_messages_of_troubleshooting_are_those_of_the_code():
    said = "\n".join(
        text for path in ROOT.glob("stzoo/**/*.py") for text in words_of(path)
    )
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, flags=re.M)
    quoted = [message for row in rows for message in re.findall(r"`(.*?)`", row)]
    assert len(quoted) > 20
    assert [message for message in quoted if message not in said] == []
