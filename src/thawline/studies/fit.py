"""Find the plan, train it, prove it beside the baselines, save the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thawline.errors import RunError
from thawline.records import FORMAT_VERSION, write_json, write_text
from thawline.report.summary import TABLE_FILE
from thawline.runs.experiment import Experiment
from thawline.runs.folder import RESULTS
from thawline.runs.model_folder import MODEL_FOLDER, save_model
from thawline.studies.compare import comparison_csv, summaries
from thawline.studies.finish import close
from thawline.studies.results import block_table, history_csv, predictions_csv, run_digest
from thawline.studies.rows import Row, make_row, row_of


def fit(experiment: Experiment, facts: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """Train the strategy's plan and write the whole run folder; returns what results.json holds.

    The fixed strategies that a search tuned on its way are its baselines, scored the same way. Raises `RunError` if
    the strategy itself could not be trained.
    """
    spec = experiment.request.strategies[0]
    row = make_row(experiment, spec)
    if row.error is not None:
        raise RunError(f"{spec} could not be trained: {row.error}")
    baselines = [row_of(experiment, name, tuned) for name, tuned in row.ways.items()]
    results = _results(experiment, facts, row, baselines)
    folder = experiment.folder
    save_model(folder.file(MODEL_FOLDER), experiment.network_of(row.finals[0]), results)
    experiment.keep_plan(row.plan)
    write_text(folder.file("history.csv"), history_csv(experiment.ledger.records))
    write_text(folder.file("predictions.csv"), predictions_csv(experiment, [row, *baselines], paths))
    write_text(folder.file(TABLE_FILE), comparison_csv([results, *results["baselines"].values()]))
    write_json(folder.file(RESULTS["fit"]), results)
    close(folder, experiment.callback)
    return results


def _results(experiment: Experiment, facts: Mapping[str, Any], row: Row, baselines: Sequence[Row]) -> dict[str, Any]:
    """`results.json`: the strategy's figures and, beside them, the baselines'."""
    summary, *others = summaries(experiment, [row, *baselines])
    return {
        "format_version": FORMAT_VERSION,
        **facts,
        "saved_seed": row.finals[0].seed,
        **summary,
        "blocks": block_table(experiment, row.plan),
        "baselines": {other["strategy"]: other for other in others},
        # The trainer proved it after every training; a block that had moved would have ended the run.
        "frozen_bit_identical": True,
        "digest": run_digest(experiment),
    }
