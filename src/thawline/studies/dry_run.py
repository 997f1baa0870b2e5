"""What a run would do, without doing it: which blocks each strategy trains, and how long that takes at most."""

from __future__ import annotations

from dataclasses import asdict, replace

from thawline.records import FORMAT_VERSION
from thawline.results import CheckResult, DryRun, PlannedRow, RunFacts
from thawline.runs.experiment import Experiment
from thawline.strategies.base import Strategy
from thawline.studies.forecast import Forecast, forecasts
from thawline.studies.tuning import Unscored, asked_for, candidates, has_rate

RATE = 1.0
"""Any rate will do: only which blocks have one is of interest."""


def dry_run(experiment: Experiment, facts: RunFacts, found: CheckResult) -> DryRun:
    """The forecast of every strategy, and what it trains, beside the facts about the data."""
    expected = forecasts(experiment, experiment.request.strategies)
    total = Forecast.sum(expected.values())
    return DryRun(
        format_version=FORMAT_VERSION,
        verb=experiment.request.verb,
        data=facts.data,
        model=facts.pretrained,
        augmentation=facts.augmentation,
        request=facts.request,
        warnings=[*found.warnings, *facts.data.notes],
        rows=[_row(experiment, spec, cost) for spec, cost in expected.items()],
        **asdict(total),
    )


def _row(experiment: Experiment, spec: str, cost: Forecast) -> PlannedRow:
    strategy = asked_for(experiment, spec)[0]
    row = PlannedRow(
        strategy=spec,
        blocks=None,
        choices=None,
        tunes_rate=True,
        seconds=cost.seconds,
        units=cost.units,
        trainings=cost.trainings,
    )
    if strategy.searches:
        return row
    choices = [each for modes in candidates(experiment, spec) for each in modes]
    given = experiment.request.search.learning_rate
    return replace(
        row,
        blocks=_trained(experiment, choices[0]),
        choices=len(choices),
        tunes_rate=given is None and has_rate(experiment, choices[0]),
    )


def _trained(experiment: Experiment, strategy: Strategy) -> list[str]:
    """Names of the blocks that ever train, from the input to the head."""
    plan = strategy.plan(Unscored(experiment, strategy, RATE))
    return [name for name in plan.blocks if name in plan.trained]
