"""What a run would do, without doing it: which blocks each strategy trains, and how long that takes at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from thawline.callback import Callback
from thawline.config import Request
from thawline.errors import ModelError, PlanError
from thawline.formatting import counted
from thawline.records import FORMAT_VERSION, environment
from thawline.report.networks import name_of, network_facts_in_words
from thawline.results import AugmentationChoice, CheckResult, DryRun, NetworkFacts, PlannedRow, RunFacts
from thawline.runs.experiment import Experiment
from thawline.runs.files import CHECK, MODELS_FOLDER, read
from thawline.runs.folder import RunFolder
from thawline.strategies.auto import AutoConfig, Budget, with_other_budget
from thawline.strategies.base import Strategy, variants
from thawline.studies.forecast import Forecast, forecasts
from thawline.studies.networks import broken_limit
from thawline.studies.pairs import Pair, measure, pairs_of
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


@dataclass(frozen=True)
class _Looked:
    """A pair of a model and an image size that would be used."""

    pair: Pair
    name: str
    facts: NetworkFacts


def dry_run_networks(folder: RunFolder, callback: Callback) -> DryRun:
    """The same for several networks, opened one after the other in `folder`, which is temporary.

    Raises `ModelError` if none of them can be used.
    """
    request = folder.request()
    pairs = pairs_of(request, folder.path / MODELS_FOLDER)
    looked = _looked(request, pairs, callback)
    costliest = max(each.facts.unit_flops for each in looked)
    found = [_planned(request, each, costliest / each.facts.unit_flops, callback) for each in looked]
    rows = [row for planned in found for row in planned.rows]
    if request.verb == "compare":
        total = Forecast.sum(Forecast(each.seconds, each.units, each.trainings, each.memory_bytes) for each in found)
    else:
        total = Forecast(
            max(each.seconds for each in found),
            max(each.units for each in found),
            max(each.trainings for each in found),
            max(each.memory_bytes for each in found),
        )
    return replace(found[0], request=request.to_dict(), rows=rows, **asdict(total))


def _looked(request: Request, pairs: Sequence[Pair], callback: Callback) -> list[_Looked]:
    """The pairs that can be had and are within the limits; what is left out is said."""
    found: list[_Looked] = []
    reasons: list[str] = []
    augmentation: AugmentationChoice | None = None
    where = environment(device=request.train.device, threads=request.train.threads)
    for pair in pairs:
        facts: NetworkFacts | None = None
        try:
            with pair.opened(where, callback, augmentation) as opened:
                facts = measure(opened.experiment, timed=False)
                augmentation = augmentation or opened.experiment.ledger.augmentation
            reason = broken_limit(request.candidates, facts) if request.candidates else ""
        except (ModelError, PlanError) as error:
            reason = str(error)
        name = name_of(pair.name, facts, pair.asked_size)
        callback.note(f"{name}: {f'left out, {reason}' if reason else network_facts_in_words(facts)}")
        if reason or facts is None:
            reasons.append(f"{name}: {reason.rstrip('.')}")
        else:
            found.append(_Looked(pair, name, facts))
    if not found:
        raise ModelError(f"none of the {counted(len(pairs), 'network')} can be used. {'; '.join(reasons)}")
    return found


def _planned(request: Request, looked: _Looked, times: float, callback: Callback) -> DryRun:
    """What would be done with a network, a full fine-tuning of which costs 1 / `times` of the costliest one's.

    `fit` spends its budget on it alone.
    """
    where = environment(device=request.train.device, threads=request.train.threads)
    with looked.pair.opened(where, callback, None) as opened:
        experiment = opened.experiment
        if request.verb == "fit":
            spec = _with_budget(request.strategies[0], times)
            experiment.request = replace(experiment.request, strategies=(spec,))
        planned = dry_run(experiment, opened.facts, read(experiment.folder.file(CHECK), CheckResult))
    specs = request.strategies if request.verb == "fit" else [row.strategy for row in planned.rows]
    rows = [
        replace(row, strategy=spec, network=looked.name, units=row.units / times)
        for row, spec in zip(planned.rows, specs, strict=True)
    ]
    return replace(planned, rows=rows, units=planned.units / times)


def _with_budget(spec: str, times: float) -> str:
    """The search with all of the budget, in the unit of a network of which so many cost one of the costliest."""
    strategy = variants(spec)[0]
    assert isinstance(strategy, AutoConfig), "only auto chooses a network"
    budget = Budget.parse(strategy.budget)
    return with_other_budget(spec, f"{budget.amount * times:.2f}x") if budget.unit == "work" else spec


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
