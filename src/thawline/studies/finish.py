"""What follows when a run's results are safe: checkpoints go, explanations and the report come."""

from __future__ import annotations

import shutil

from thawline.callback import Callback
from thawline.explanation.explain import explain_examples
from thawline.report.draw import report
from thawline.report.html import FILE as REPORT
from thawline.runs.folder import RESULTS, RunFolder


def close(folder: RunFolder, callback: Callback) -> None:
    """Finish a run whose results are written; repeated if it was interrupted."""
    shutil.rmtree(folder.path / "checkpoints", ignore_errors=True)
    request = folder.request()
    if request.verb == "fit" and request.explain:
        explain_examples(folder, callback)
    report(folder.path, callback)


def is_closed(folder: RunFolder) -> bool:
    """Whether the report was drawn after the results were written."""
    drawn, results = folder.path / REPORT, folder.path / RESULTS[folder.request().verb]
    return drawn.exists() and drawn.stat().st_mtime >= results.stat().st_mtime
