"""How long a run will take on this machine, told before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thawline.config import BASE_RATE, TRAININGS_PER_ROW
from thawline.plan import FineTunePlan
from thawline.records import furthest
from thawline.runs.experiment import Experiment
from thawline.search.baselines import WAYS
from thawline.strategies.auto import Auto, Budget
from thawline.strategies.base import Strategy, variants
from thawline.strategies.biotune import EvolutionConfig
from thawline.strategies.full import Full
from thawline.studies.tuning import RATE_LADDER, Unscored, candidates
from thawline.training.measure import VALIDATION_SHARE, bytes_of_a_step, seconds_per_image

UNITS_PER_TRAINING = 0.1
"""What one of a search costs on average, up to its next rung: most end after a few epochs, many train few blocks."""
TRAININGS_PER_CANDIDATE = 3
"""On average: some go on from rung to rung, and the best race with further seeds."""


@dataclass(frozen=True)
class Forecast:
    """If no training stops early, without those that a strategy asks for to make its plan.

    At most this much, but for a search of so many candidates: that is told by what they cost on average.
    """

    seconds: float
    units: float
    """Units of work, without the passes through frozen prefixes."""
    trainings: int
    memory_bytes: int = 0
    """Of the largest step, caches and the interpreter apart."""

    def plus(self, other: Forecast, *, times: int) -> Forecast:
        """This and `times` times the other."""
        return Forecast(
            self.seconds + times * other.seconds,
            self.units + times * other.units,
            self.trainings + times * other.trainings,
            max(self.memory_bytes, other.memory_bytes),
        )


def forecast(experiment: Experiment, specs: Sequence[str]) -> Forecast:
    """Time a few real steps of every plan that will be trained and add them up. Costs a second or two."""
    forward = VALIDATION_SHARE * _seconds_per_image(experiment, _plan(experiment, Full()))
    total = Forecast(0.0, 0.0, 0)
    rivals = {name for spec in specs for name in variants(spec)[0].compares}
    for spec in compared(specs):
        strategy = variants(spec)[0]
        if isinstance(strategy, EvolutionConfig):
            total = _with_search(experiment, total, strategy, strategy.spec, forward)
            continue
        if isinstance(strategy, Auto):
            total = _with_auto(experiment, total, strategy, forward)
            continue
        strategies = candidates(experiment, spec)
        costs = [_one_training(experiment, strategy, forward) for strategy in strategies]
        dearest = max(costs, key=lambda cost: cost.seconds)
        left = _tunings_left(experiment, strategies, scored=spec in rivals)
        # The arguments come first, one training each; which of them the rates are then tried with is not known yet.
        for cost in costs[:left]:
            total = total.plus(cost, times=1)
        total = total.plus(dearest, times=max(0, left - len(costs)) + experiment.request.search.seeds)
    return total


def _with_search(
    experiment: Experiment, total: Forecast, search: EvolutionConfig, spec: str, forward: float
) -> Forecast:
    """With a search whose every candidate trains everything on its fold, the top ones and the finals on all images."""
    candidate = _one_training(experiment, Full(), forward, share=1 / search.folds)
    whole = _one_training(experiment, Full(), forward)
    done = sum(record.strategy == spec and record.purpose == "search" for record in experiment.ledger.records)
    total = total.plus(candidate, times=max(0, search.evaluations * search.seeds - done))
    return total.plus(whole, times=search.top * search.seeds + experiment.request.search.seeds)


def _with_auto(experiment: Experiment, total: Forecast, search: Auto, forward: float) -> Forecast:
    """With what the budget still allows, and the final trainings of the ways that prove its answer."""
    budget = Budget.parse(search.budget)
    full, seeds = _one_training(experiment, Full(), forward), experiment.request.search.seeds
    units = {
        "work": budget.amount,
        "seconds": budget.amount / full.seconds,
        "candidates": budget.amount * TRAININGS_PER_CANDIDATE * UNITS_PER_TRAINING,
    }[budget.unit]
    proof = (len(WAYS) if experiment.request.verb == "fit" else 0) * seeds + seeds - 1
    done = furthest(record for record in experiment.ledger.of(search.spec) if record.purpose == "search")
    units = max(0.0, units - sum(record.work for record in done))
    searching = Forecast(units * full.seconds, units, round(units / UNITS_PER_TRAINING), full.memory_bytes)
    return total.plus(searching, times=1).plus(full, times=proof)


def _tunings_left(experiment: Experiment, strategies: Sequence[Strategy], *, scored: bool) -> int:
    """Trainings that tune one row and are not in the ledger; `scored` = another strategy compares it."""
    given = experiment.request.search.learning_rate
    if given is not None and len(strategies) == 1 and not scored:
        return 0
    rates = RATE_LADDER if given is None else (given,)
    done = sum(experiment.is_tuned(_plan(experiment, strategy, rate)) for strategy in strategies for rate in rates)
    return max(0, (TRAININGS_PER_ROW if given is None else len(strategies)) - done)


def compared(specs: Sequence[str]) -> tuple[str, ...]:
    """The specs that will really be trained: a strategy that compares others stands for those."""
    expanded: list[str] = []
    for spec in specs:
        expanded.extend(variants(spec)[0].compares or (spec,))
    return tuple(dict.fromkeys(expanded))


def _one_training(experiment: Experiment, strategy: Strategy, forward: float, *, share: float = 1.0) -> Forecast:
    """One training of all nominal epochs on a share of the images; `forward` = seconds per validation image."""
    train, val = len(experiment.data.train), len(experiment.data.val)
    epochs = experiment.request.train.epochs
    plan = _plan(experiment, strategy)
    units = experiment.work(plan.granularity).training(
        plan, epochs_run=epochs, nominal_epochs=epochs, train_images=train, validation_images=val, share=share
    )
    seconds = epochs * (_seconds_per_image(experiment, plan) * share * train + forward * val)
    memory = bytes_of_a_step(experiment.trainer, plan, experiment.blocks(plan.granularity))
    return Forecast(seconds, units, 1, memory)


def _plan(experiment: Experiment, strategy: Strategy, rate: float = BASE_RATE) -> FineTunePlan:
    return strategy.propose(Unscored(experiment, strategy, rate))


def _seconds_per_image(experiment: Experiment, plan: FineTunePlan) -> float:
    return seconds_per_image(experiment.trainer, plan, experiment.blocks(plan.granularity))
