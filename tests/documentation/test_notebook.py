"""examples/notebook.ipynb: run without a browser, saved, and read again without a kernel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"

nbformat = pytest.importorskip("nbformat", reason="nbformat is absent: it is in the `dev` extra")


def outputs(notebook: Path) -> dict[str, list[dict[str, str]]]:
    """Last line of every cell of code -> what it shows, by media type."""
    found = nbformat.read(notebook, as_version=4)
    return {
        cell.source.splitlines()[-1]: [
            dict(output.get("data", {"stream": output.get("text")})) for output in cell.outputs
        ]
        for cell in found.cells
        if cell.cell_type == "code"
    }


def require_whole(notebook: Path) -> None:
    """Assert that a saved notebook has its tables, its plans and the last line of every progress, each once."""
    text = nbformat.writes(nbformat.read(notebook, as_version=4))
    assert "starting" not in text, "a line of progress is not the last one"
    assert '"error"' not in text
    shown = outputs(notebook)
    for name in ("again", "comparison", "several"):
        progress, result = shown[name]
        assert re.search(r"Done in .+: \d+ trainings?; best .+ 0\.\d{3}", progress["text/html"])
        assert result["text/html"].count("<table") >= 1
        assert "<script" not in result["text/html"]
    (progress,) = shown['results = thawline.demo("demo")  # on images of yours: thawline.fit("photos")']
    assert "Done in" in progress["text/html"]
    (result,) = shown["results"]
    assert "linear_probe" in result["text/html"]
    assert result["text/plain"].startswith("<FitRun: ")
    assert len(result["text/plain"]) < 200
    (plan,) = shown["edited"]
    assert plan["text/html"].count("frozen") == 2


def test_the_saved_notebook_is_whole_without_a_kernel() -> None:
    require_whole(NOTEBOOK)
    assert NOTEBOOK.stat().st_size < 200_000


@pytest.mark.slow
def test_it_runs_anew_and_its_page_loads_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "run_notebook.py"), "--to", str(tmp_path)]
    environment = {**os.environ, "THAWLINE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    require_whole(tmp_path / "notebook.ipynb")
    page = (tmp_path / "notebook.html").read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|href)=["']https?://""", page) == []
    assert [show["text/plain"] for show in outputs(tmp_path / "notebook.ipynb")["edited"]] == [
        show["text/plain"] for show in outputs(NOTEBOOK)["edited"]
    ]
