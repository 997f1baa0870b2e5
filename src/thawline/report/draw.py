"""report.html at the end of a run: the results are safe by then, whatever happens here."""

from __future__ import annotations

from pathlib import Path

from jinja2 import TemplateError

from thawline.callback import Callback
from thawline.errors import ThawlineError, debugging
from thawline.report.html import write_report
from thawline.report.reading import read_run
from thawline.report.thumbnails import write_thumbnails

UNDRAWABLE = (
    ThawlineError,
    OSError,
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""Hours of training must not end in a traceback because of a picture."""


def report(folder: Path, callback: Callback) -> None:
    """Keep the pictures that the report shows, and draw it; if that fails, say so and go on."""
    try:
        run = read_run(folder)
        if run.predictions is not None:
            write_thumbnails(folder, run.predictions, Path(run.results["data"]["root"]))
        write_report(folder)
    except UNDRAWABLE as error:
        if debugging():
            raise
        callback.note(
            f"report.html could not be drawn ({type(error).__name__}: {error}); all results are in {folder}, and "
            f"`thawline report {folder}` tries again."
        )
