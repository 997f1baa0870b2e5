"""Run examples/notebook.ipynb without a browser, in a folder of its own, and save it with its outputs.

Without arguments the file itself is written; `--to FOLDER` writes notebook.ipynb and notebook.html there.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import cast

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

import thawline

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOK = EXAMPLES / "notebook.ipynb"
BESIDE = ("own_network.py",)
"""Files of examples/ that the notebook reads."""
SECONDS = 900
"""That a cell may take."""


def run(notebook: Path) -> nbformat.NotebookNode:
    """The notebook with new outputs; `CellExecutionError` if a cell fails."""
    found = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        for name in BESIDE:
            shutil.copy(EXAMPLES / name, folder)
        client = NotebookClient(found, timeout=SECONDS, resources={"metadata": {"path": folder}})
        asyncio.run(client.async_execute())
    return _anywhere(found, folder)


def _anywhere(notebook: nbformat.NotebookNode, folder: str) -> nbformat.NotebookNode:
    """The same without when and where it ran, so that two versions of the file differ in nothing else."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    text = nbformat.writes(notebook).replace(f"{folder}/", "")
    installed = str(Path(thawline.__file__).parent)
    return cast(nbformat.NotebookNode, nbformat.reads(text.replace(installed, "site-packages/thawline"), as_version=4))


def as_page(notebook: nbformat.NotebookNode) -> str:
    """The notebook as HTML that loads nothing from elsewhere."""
    page, _ = HTMLExporter(mathjax_url="", require_js_url="").from_notebook_node(notebook)
    return str(page)


def main() -> None:
    """Run it and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, metavar="FOLDER")
    folder = parser.parse_args().to
    notebook = run(NOTEBOOK)
    if folder is not None:
        (folder / "notebook.html").write_text(as_page(notebook), encoding="utf-8")
    nbformat.write(notebook, (folder or EXAMPLES) / NOTEBOOK.name)


if __name__ == "__main__":
    main()
