"""Compare strategies on one data set: the same splits, epochs, batch order and heads for all of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from thawline.records import FORMAT_VERSION, write_json, write_text
from thawline.studies.experiment import Experiment
from thawline.studies.results import (
    history_csv,
    predictions_csv,
    row_summary,
    run_digest,
    versus_reference,
)
from thawline.studies.rows import Row, make_row
from thawline.studies.run_folder import RESULTS

TABLE = ("strategy", "chosen", "learning_rate", "trainable_percent", "work", "seconds")
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "negative_log_likelihood", "calibration_error")


def compare(experiment: Experiment, facts: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """Make every row and write comparison.json and the tables beside it; returns what comparison.json holds."""
    rows = [make_row(experiment, spec) for spec in experiment.request.strategies]
    comparison = {
        "format_version": FORMAT_VERSION,
        **facts,
        "rows": summaries(experiment, rows),
        "digest": run_digest(experiment),
    }
    folder = experiment.folder
    write_text(folder.file("history.csv"), history_csv(experiment.ledger.records))
    write_text(folder.file("predictions.csv"), predictions_csv(experiment, rows, paths))
    write_text(folder.file("comparison.csv"), _table(comparison["rows"]))
    write_json(folder.file(RESULTS["compare"]), comparison)
    experiment.forget_checkpoints()
    return comparison


def summaries(experiment: Experiment, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """All rows with their comparison to full fine-tuning."""
    versus = versus_reference(experiment, rows)
    return [{**row_summary(experiment, row), "versus_full": versus.get(row.strategy)} for row in rows]


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """`comparison.csv`: the figures of every row, test ones empty where there is no test split."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    columns = [f"{split}_{figure}" for split in ("val", "test") for figure in FIGURES]
    writer.writerow((*TABLE, *columns, "test_standard_error", "difference_to_full", "p_holm", "error"))
    for row in rows:
        writer.writerow(_line(row))
    return stream.getvalue()


def _line(row: Mapping[str, Any]) -> list[Any]:
    if row.get("error"):
        return [row["strategy"], *[""] * (len(TABLE) - 1 + 2 * len(FIGURES) + 3), row["error"]]
    flat = {**row, **row["cost"]}
    test, versus = row["test"] or {}, row["versus_full"] or {}
    means = [scores.get(figure, {}).get("mean", "") for scores in (row["val"], test) for figure in FIGURES]
    error = test.get("accuracy", {}).get("standard_error")
    return [
        *(flat[name] for name in TABLE),
        *means,
        "" if error is None else error,
        versus.get("difference", ""),
        versus.get("p_holm", ""),
        "",
    ]
