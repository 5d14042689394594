"""python scripts/run_notebooks.py [NAME ...]

Runs the notebooks of notebooks/, in a folder that is deleted afterwards, and stores
their outputs. A cell with the tag `skip-execution`, which needs an account of the Hub,
does not run. Nothing is stored if a cell fails or writes to the error output. It needs
`pip install -e ".[notebooks]"`.
"""

import argparse
import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What TensorFlow logs when it is imported, and later
QUIET = "from stzoo.cli import quiet; quiet.install()"
LOG = {"TF_CPP_MIN_LOG_LEVEL": "3"}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    names = [path.stem for path in NOTEBOOKS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    os.environ.update(LOG)
    for name in parser.parse_args().names or names:
        run(ROOT / "notebooks" / f"{name}.ipynb")


def run(path):
    """Runs a notebook and writes it back with its outputs."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, 4)
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, resources=place, record_timing=False)
        with client.setup_kernel():
            client.kc.execute(QUIET, store_history=False)
            for number, cell in enumerate(notebook.cells):
                client.execute_cell(cell, number)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                raise SystemExit(f"{path.name}, {cell.id}: {output.text}")
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
