"""Draw the answer of a finished `fit` run as the README shows it: python -m scripts.fit_picture RUN PICTURE.svg."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from thawline.exports.timm_folder import timm_snippet
from thawline.report.tables import print_fit
from thawline.results import FitResults
from thawline.runs.files import RESULTS, read

COLUMNS = 142


def draw(run: Path, picture: Path) -> None:
    """Print the run's results to a recorded terminal and save that as SVG."""
    results = read(run / RESULTS["fit"], FitResults)
    console = Console(record=True, width=COLUMNS, force_terminal=True, color_system="truecolor", file=io.StringIO())
    snippet = timm_snippet(run / "model").replace(str(run.resolve()), "run")
    print_fit(console, results, Path("run"), snippet)
    picture.write_text(console.export_svg(title="thawline fit"), encoding="utf-8")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
