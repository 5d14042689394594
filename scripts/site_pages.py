"""Hooks of MkDocs and mkdocstrings: pages from outside of docs/, and docstrings.

The benchmarks, the studies, the cards and a few other files stay where they are in the
repository. In the site they are beside the pages of docs/, and links that are right in
the repository are made right in the site. `mkdocs build --strict` builds it.
"""

import posixpath
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PAGES = (
    "MODEL_CARDS.md",
    "weights/space/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "notebooks/*.ipynb",
)
FOLDERS = ("benchmarks/**/*.*", "studies/**/*.*")
DOCTEST = re.compile(r"^(>>> .*(?:\n.+)*)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)]*)?\)")


def on_files(files, config):
    """Adds the files to those of docs/."""
    for pattern in (*PAGES, *FOLDERS):
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Changes the links of a page from the repository to the site."""
    is_outside = not page.file.abs_src_path.startswith(config.docs_dir)
    place = page.file.src_uri if is_outside else f"docs/{page.file.src_uri}"
    here = posixpath.dirname(page.file.src_uri)

    def moved(match):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(place), match[1]))
        link = posixpath.relpath(target.removeprefix("docs/"), here or ".")
        return f"]({link}{match[2] or ''})"

    return LINK.sub(moved, markdown)


class Examples(griffe.Extension):
    """Shows the examples of docstrings, which have Keras' form, as code."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            text = re.sub(r"^Example:$", "**Example**", obj.docstring.value, flags=re.M)
            obj.docstring.value = DOCTEST.sub(r"```pycon\n\1\n```", text)
