"""Compare strategies on one data set: the same splits, epochs, batch order and heads for all of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from thawline.records import FORMAT_VERSION, write_json, write_text
from thawline.report.summary import TABLE_FILE, train_test_gap
from thawline.runs.experiment import Experiment
from thawline.runs.folder import RESULTS
from thawline.studies.depth_curve import depth_curve
from thawline.studies.finish import close
from thawline.studies.results import (
    history_csv,
    predictions_csv,
    row_summary,
    run_digest,
    versus_reference,
)
from thawline.studies.rows import Row, make_row

CHOICE = ("strategy", "chosen", "learning_rate", "trainable_percent")
COST = ("work", "proof", "trainings", "seconds", "image_passes", "peak_memory_bytes")
SPLITS = ("train", "val", "test")
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "negative_log_likelihood", "calibration_error")
FEWEST_SHARES = 3
"""Rows that make a depth curve."""
SPREAD = ("standard_error", "n")
"""Of the accuracy over seeds."""
_COLUMNS = (
    *CHOICE,
    *(f"{split}_{name}" for split in SPLITS for name in (*FIGURES, *SPREAD)),
    *("test_low95", "test_high95", "train_test_gap"),
    *("difference_to_full", "difference_low95", "difference_high95", "p_holm"),
    *COST,
    "error",
)


def compare(experiment: Experiment, facts: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """Make every row and write comparison.json and the tables beside it; returns what comparison.json holds."""
    rows = [make_row(experiment, spec) for spec in experiment.request.strategies]
    comparison = {
        "format_version": FORMAT_VERSION,
        **facts,
        "rows": summaries(experiment, rows),
        "digest": run_digest(experiment),
    }
    if curve := _depth(experiment, rows):
        comparison["depth"] = curve
    folder = experiment.folder
    write_text(folder.file("history.csv"), history_csv(experiment.ledger.records))
    write_text(folder.file("predictions.csv"), predictions_csv(experiment, rows, paths))
    write_text(folder.file(TABLE_FILE), comparison_csv(comparison["rows"]))
    write_json(folder.file(RESULTS["compare"]), comparison)
    close(folder, experiment.callback)
    return comparison


def summaries(experiment: Experiment, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """All rows with their comparison to full fine-tuning."""
    versus = versus_reference(experiment, rows)
    return [{**row_summary(experiment, row), "versus_full": versus.get(row.strategy)} for row in rows]


def _depth(experiment: Experiment, rows: Sequence[Row]) -> dict[str, Any] | None:
    """`depth` of comparison.json: the curve through the rows depth:share=...; None if they make none."""
    scored = {float(row.strategy.partition("=")[2]): row for row in rows if _is_depth(row)}
    if experiment.test is None or len(scored) < FEWEST_SHARES:
        return None
    train, test = experiment.data.train.labels.numpy(), experiment.test.labels.numpy()
    seen = [[(one.train.argmax(1) == train).mean() for one in row.evaluations] for row in scored.values()]
    right = [[one.test.argmax(1) == test for one in row.evaluations if one.test is not None] for row in scored.values()]
    return asdict(depth_curve(np.array(list(scored)), np.array(seen), np.array(right)))


def _is_depth(row: Row) -> bool:
    name, _, share = row.strategy.partition("=")
    return name == "depth:share" and row.error is None and share.replace(".", "", 1).isdigit()


def comparison_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """`comparison.csv`: the figures of every row, test ones empty where there is no test split."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS)
    writer.writeheader()
    writer.writerows(_line(row) for row in rows)
    return stream.getvalue()


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    if row.get("error"):
        return {"strategy": row["strategy"], "error": row["error"]}
    line = {name: row[name] for name in CHOICE} | {name: row["cost"][name] for name in COST}
    for split in SPLITS:
        scores = row[split] or {}
        line |= {f"{split}_{figure}": scores[figure]["mean"] for figure in FIGURES if scores}
        line |= {f"{split}_{name}": scores["accuracy"][name] for name in SPREAD if scores}
    if row["test"]:
        line["test_low95"], line["test_high95"] = row["test"]["interval95"]
        line["train_test_gap"] = train_test_gap(row)
    if versus := row["versus_full"]:
        line["difference_low95"], line["difference_high95"] = versus["interval95"]
        line |= {"difference_to_full": versus["difference"], "p_holm": versus["p_holm"]}
    return line
