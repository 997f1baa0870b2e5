"""report.html of a run folder, and how a finished run survives whatever goes wrong with its pictures."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from thawline.callback import Callback
from thawline.config import FULL_DEPTH
from thawline.errors import debugging, written_to
from thawline.records import write_text
from thawline.report import html
from thawline.report.thumbnails import thumbnails
from thawline.runs.files import REPORT, REPORT_ERROR, read_overlays, read_run, read_thumbnails, write_thumbnails
from thawline.runs.sealed import updating


def write_report(folder: Path) -> Path:
    """Draw report.html of a finished run, again if it is there; raises `RunFolderError` for any other folder."""
    run = read_run(folder)
    page = html.draw(replace(run, overlays=read_overlays(run)))
    with written_to(folder / REPORT, then=f"thawline report {folder}"), updating(folder):
        write_text(folder / REPORT, page)
    return folder / REPORT


def report(folder: Path, callback: Callback) -> None:
    """Keep the thumbnails that the report shows, and draw it; if that fails, say so and go on."""
    with results_are_safe(folder, callback, "report.html could not be drawn", f"thawline report {folder}"):
        keep_thumbnails(folder)
        write_report(folder)


def keep_thumbnails(folder: Path) -> None:
    """Write thumbnails.json: the images that the report shows may move away later."""
    run = read_run(folder)
    if run.predictions is not None:
        depth = run.request.images.bit_depth
        pictures = thumbnails(
            run.predictions,
            Path(run.results.data.root),
            read_thumbnails(folder),
            FULL_DEPTH if depth == "auto" else int(depth),
        )
        write_thumbnails(folder, pictures)


@contextmanager
def results_are_safe(folder: Path, callback: Callback, failure: str, command: str) -> Iterator[None]:
    """Hours of training must not end in a traceback because of a picture: whatever fails inside becomes a note.

    The note says `failure` and the `command` that tries again; the traceback is in report-error.txt. While debugging
    (--debug, or THAWLINE_DEBUG=1) the error is raised.
    """
    try:
        yield
    except Exception as error:
        if debugging():
            raise
        callback.note(
            f"{failure} ({type(error).__name__}: {error}). All results are in {folder}{_kept_traceback(folder)}; run "
            f"`{command}` to try again."
        )


def _kept_traceback(folder: Path) -> str:
    """Where the traceback of the current error was written, in words; empty if it could not be written."""
    try:
        if folder.is_dir():
            write_text(folder / REPORT_ERROR, traceback.format_exc())
            return f", the traceback is in {folder / REPORT_ERROR}"
    except OSError:
        pass
    return ""
