"""How long a run will take on this machine, told before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thawline.config import RATE_GRID
from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy, variants
from thawline.strategies.full import Full
from thawline.studies.experiment import Experiment
from thawline.studies.tuning import Context
from thawline.training.measure import bytes_of_a_step, seconds_per_image

VALIDATION_SHARE = 1 / 3
"""Of a full training step: what a forward pass costs."""


@dataclass(frozen=True)
class Forecast:
    """At most this much, if no training stops early and no grid is extended."""

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
    search = experiment.request.search
    rates = 1 if search.learning_rate is not None else len(RATE_GRID)
    forward = VALIDATION_SHARE * _seconds_per_image(experiment, _plan(experiment, Full()))
    total = Forecast(0.0, 0.0, 0)
    for spec in compared(specs):
        strategies = variants(spec)
        costs = [_one_training(experiment, strategy, forward) for strategy in strategies]
        tunings = 0 if rates * len(strategies) == 1 else rates
        for strategy, cost in zip(strategies, costs, strict=True):
            total = total.plus(cost, times=_untried(experiment, strategy) if tunings else 0)
        dearest = max(costs, key=lambda cost: cost.seconds)
        total = total.plus(dearest, times=search.seeds)
    return total


def _untried(experiment: Experiment, strategy: Strategy) -> int:
    """Rates of the grid at which the strategy has not been trained yet."""
    given = experiment.request.search.learning_rate
    rates = RATE_GRID if given is None else (given,)
    return sum(not experiment.is_tuned(_plan(experiment, strategy, rate)) for rate in rates)


def compared(specs: Sequence[str]) -> tuple[str, ...]:
    """The specs that will really be trained: a strategy that compares others stands for those."""
    expanded: list[str] = []
    for spec in specs:
        expanded.extend(variants(spec)[0].compares or (spec,))
    return tuple(dict.fromkeys(expanded))


@dataclass(frozen=True)
class _Unscored(Context):
    """For plans that are only timed: what a strategy asks for to make its plan is not trained, and not forecast."""

    def score(self, plan: FineTunePlan) -> tuple[float, float]:
        """The same for every plan."""
        return (0.0, 0.0)


def _one_training(experiment: Experiment, strategy: Strategy, forward: float) -> Forecast:
    """One training of all nominal epochs; `forward` = seconds per validation image."""
    train, val = len(experiment.data.train), len(experiment.data.val)
    epochs = experiment.request.train.epochs
    plan = _plan(experiment, strategy)
    units = experiment.work(plan.granularity).training(
        plan, epochs_run=epochs, nominal_epochs=epochs, train_images=train, validation_images=val
    )
    seconds = epochs * (_seconds_per_image(experiment, plan) * train + forward * val)
    memory = bytes_of_a_step(experiment.trainer, plan, experiment.blocks(plan.granularity))
    return Forecast(seconds, units, 1, memory)


def _plan(experiment: Experiment, strategy: Strategy, rate: float = RATE_GRID[0]) -> FineTunePlan:
    return strategy.propose(_Unscored(experiment, strategy, rate))


def _seconds_per_image(experiment: Experiment, plan: FineTunePlan) -> float:
    return seconds_per_image(experiment.trainer, plan, experiment.blocks(plan.granularity))
