"""Find the plan, train it, prove it beside the baselines, save the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial

from thawline.errors import NonFiniteLossError, RunError
from thawline.report.summary import headline
from thawline.results import FitResults, NetworkChoice, RunFacts, ScoredRow
from thawline.runs.experiment import Experiment
from thawline.runs.files import MODELS, RESULTS, read_if_there, write
from thawline.runs.model_folder import MODEL_FOLDER, save_ensemble, save_model
from thawline.studies.again import forgetting, kept_old, require_old_images
from thawline.studies.calibration import calibration
from thawline.studies.finish import close, write_tables
from thawline.studies.latency import latencies
from thawline.studies.results import block_table, member_results, refit_facts, run_digest, summaries
from thawline.studies.rows import TrainedRow, pick_row, refitted, row_of, train_finals
from thawline.studies.tuning import require_refittable, tune


def fit(experiment: Experiment, facts: RunFacts, paths: Sequence[str]) -> FitResults:
    """Train the strategy's plan and write the whole run folder; returns what results.json holds.

    The fixed strategies that a search tuned on its way are its baselines, scored the same way, unless it had only a
    sample of the images: then each would have to be trained on all of them. Raises `RunError` if the strategy itself
    could not be trained.
    """
    spec = experiment.request.strategies[0]
    if experiment.request.refit:
        require_refittable(experiment, spec)
    if experiment.request.keep_old:
        require_old_images(experiment, spec)
    try:
        tuned = tune(experiment.searching, spec)
    except NonFiniteLossError as error:
        raise RunError(f"{spec} could not be trained: {error}") from error
    tuned, keep_old = kept_old(experiment, tuned) if experiment.request.keep_old else (tuned, None)
    settled = [tuned, *tuned.baselines.values()]
    experiment.ahead(partial(train_finals, tuned=each) for each in settled)
    row = row_of(experiment, spec, tuned)
    if row.error is not None:
        raise RunError(f"{spec} could not be trained: {row.error}")
    known = {} if experiment.sample else tuned.baselines
    baselines = [row_of(experiment, name, baseline) for name, baseline in known.items()]
    if experiment.request.refit:
        row = refitted(experiment, row)
    results = _results(experiment, facts, row, baselines)
    scaling = calibration(experiment, row)
    results = replace(results, latency=latencies(experiment, row, baselines), keep_old=keep_old, calibration=scaling)
    folder = experiment.folder
    _save(experiment, row, results)
    results = replace(results, forgetting=forgetting(experiment))
    experiment.keep_plan(row.plan)
    write_tables(experiment, [row, *baselines], results.rows, paths)
    write(folder.file(RESULTS["fit"]), results)
    close(folder, experiment.callback)
    return results


def _save(experiment: Experiment, row: TrainedRow, results: FitResults) -> None:
    """The model of the lowest seed, or its refit; of an ensemble every member."""
    folder, record = experiment.folder.file(MODEL_FOLDER), row.finals[0]
    if not row.plan.is_ensemble:
        save_model(folder, experiment.network_of(row.refits[0] if row.refits else record), results)
        return
    parts = experiment.ingredients(record)
    members = (
        (experiment.network_of(saved), member_results(experiment, results, part))
        for part, saved in zip(parts, row.refits or parts, strict=True)
    )
    save_ensemble(folder, members, row.plan.shares, results)


def _results(experiment: Experiment, facts: RunFacts, row: TrainedRow, baselines: Sequence[TrainedRow]) -> FitResults:
    """`results.json`: the strategy's figures and, beside them, the baselines'."""
    summary, *others = summaries(experiment, [row, *baselines])
    if not isinstance(summary, ScoredRow):
        raise RunError(f"{row.strategy} could not be scored.")
    pick = pick_row(row, [row, *(each for each in baselines if each.error is None)])
    shared = {field.name: getattr(part, field.name) for part in (facts, summary) for field in fields(part)}
    results = FitResults(
        **shared,
        saved_seed=row.finals[0].seed,
        blocks=block_table(experiment, row.plan),
        baselines={other.strategy: other for other in others},
        pick=pick.strategy if pick else None,
        # The trainer proved it after every training; a block that had moved would have ended the run.
        frozen_bit_identical=True,
        digest=run_digest(experiment),
        models=read_if_there(experiment.folder.file(MODELS), NetworkChoice),
        refit=refit_facts(experiment, row),
        refit_error=row.refit_error,
    )
    return replace(results, answer=headline(results))
