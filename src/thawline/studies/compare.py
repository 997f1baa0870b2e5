"""Compare strategies on one data set: the same splits, epochs, batch order and heads for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial

import numpy as np

from thawline.report.summary import comparison_headline, depth_in_words
from thawline.results import Comparison, DepthCurve, RunFacts
from thawline.runs.experiment import Experiment
from thawline.runs.files import RESULTS, write
from thawline.studies.depth_curve import depth_curve
from thawline.studies.finish import close, write_tables
from thawline.studies.results import run_digest, summaries
from thawline.studies.rows import TrainedRow, make_row

FEWEST_SHARES = 3
"""Rows that make a depth curve."""


def compare(experiment: Experiment, facts: RunFacts, paths: Sequence[str]) -> Comparison:
    """Make every row and write comparison.json and the tables beside it; returns what comparison.json holds."""
    comparison = compared(experiment, facts, paths)
    close(experiment.folder, experiment.callback)
    return comparison


def compared(experiment: Experiment, facts: RunFacts, paths: Sequence[str]) -> Comparison:
    """The same without a report."""
    strategies = experiment.request.strategies
    experiment.side_by_side(partial(make_row, spec=spec) for spec in strategies)
    rows = [make_row(experiment, spec) for spec in strategies]
    comparison = Comparison(
        **{field.name: getattr(facts, field.name) for field in fields(facts)},
        rows=summaries(experiment, rows),
        digest=run_digest(experiment),
        depth=_depth(experiment, rows),
    )
    curve = comparison.depth and replace(comparison.depth, words=depth_in_words(comparison))
    comparison = replace(comparison, answer=comparison_headline(comparison), depth=curve)
    folder = experiment.folder
    write_tables(experiment, rows, comparison.rows, paths)
    write(folder.file(RESULTS["compare"]), comparison)
    return comparison


def _depth(experiment: Experiment, rows: Sequence[TrainedRow]) -> DepthCurve | None:
    """The curve through the rows depth:share=...; None if there are too few of them, or no test split."""
    scored = {float(row.strategy.partition("=")[2]): row for row in rows if _is_depth(row)}
    if experiment.test is None or len(scored) < FEWEST_SHARES:
        return None
    train, test = experiment.scored_train.labels.numpy(), experiment.test.labels.numpy()
    seen = [[(seed.argmax(1) == train).mean() for seed in row.probabilities("train")] for row in scored.values()]
    right = [[seed.argmax(1) == test for seed in row.probabilities("test")] for row in scored.values()]
    return depth_curve(np.array(list(scored)), np.array(seen), np.array(right), len(train))


def _is_depth(row: TrainedRow) -> bool:
    name, _, share = row.strategy.partition("=")
    return name == "depth:share" and row.error is None and share.replace(".", "", 1).isdigit()
