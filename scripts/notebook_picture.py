"""Draw the first cells of examples/notebook.ipynb as the README shows them: python -m scripts.notebook_picture."""

from __future__ import annotations

import io
from pathlib import Path

import nbformat
from PIL import Image
from playwright.sync_api import sync_playwright

from scripts.run_notebook import NOTEBOOK, as_page

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "notebook.png"
CHROMIUM = "/usr/bin/chromium"
CELLS = {1: None, 3: 192, 7: None}
"""Numbers of the cells that are shown -> height of their output in pixels; None = all of it."""
WIDTH = 1000
COLORS = 32


def excerpt() -> nbformat.NotebookNode:
    """The notebook with these cells alone, long outputs cut at their height."""
    notebook: nbformat.NotebookNode = nbformat.read(NOTEBOOK, as_version=4)
    for number, height in CELLS.items():
        for output in notebook.cells[number].outputs if height else ():
            shown = output.data["text/html"]
            output.data["text/html"] = f'<div style="height:{height}px;overflow:hidden">{shown}</div>'
    notebook.cells = [notebook.cells[number] for number in CELLS]
    return notebook


def photograph(page: str) -> Image.Image:
    """A page of HTML as Chromium draws it."""
    with sync_playwright() as session:
        browser = session.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": 100})
        tab.set_content(page)
        shown = tab.screenshot(full_page=True)
        browser.close()
    return Image.open(io.BytesIO(shown))


def main() -> None:
    """Write the picture, with few colors."""
    photograph(as_page(excerpt())).convert("RGB").quantize(COLORS).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
