"""The end of a run: its tables are written and, when its results are safe, its explanation and its report."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from thawline.callback import Callback
from thawline.explanation.explain import explain_examples
from thawline.results import Row
from thawline.runs.experiment import Experiment
from thawline.runs.files import (
    CHECKPOINTS,
    HISTORY,
    PREDICTIONS,
    REPORT,
    REPORT_ERROR,
    RESULTS,
    TABLE,
    write_comparison_table,
    write_history,
    write_predictions,
)
from thawline.runs.folder import RunFolder
from thawline.runs.reporting import report
from thawline.studies.results import predictions
from thawline.studies.rows import TrainedRow


def write_tables(
    experiment: Experiment, trained: Sequence[TrainedRow], rows: Sequence[Row], paths: Sequence[str]
) -> None:
    """history.csv, predictions.csv and comparison.csv; `paths` of all images in the order of the pixel rows."""
    folder = experiment.folder
    write_history(folder.file(HISTORY), experiment.ledger.records)
    write_predictions(folder.file(PREDICTIONS), experiment.classes, predictions(experiment, trained, paths))
    write_comparison_table(folder.file(TABLE), rows)


def close(folder: RunFolder, callback: Callback) -> None:
    """Finish a run whose results are written; repeated if it was interrupted."""
    shutil.rmtree(folder.path / CHECKPOINTS, ignore_errors=True)
    (folder.path / REPORT_ERROR).unlink(missing_ok=True)
    request = folder.request()
    if request.verb == "fit" and request.explain:
        explain_examples(folder, callback)
    report(folder.path, callback)


def is_closed(folder: RunFolder) -> bool:
    """Whether the report was drawn after the results were written."""
    drawn, results = folder.path / REPORT, folder.path / RESULTS[folder.request().verb]
    return drawn.exists() and drawn.stat().st_mtime >= results.stat().st_mtime
