"""Tuning of learning rates and arguments on validation: the same rule for every strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from thawline.config import BASE_RATE, RATE_GRID
from thawline.errors import NonFiniteLossError
from thawline.plan import Block, FineTunePlan, Granularity
from thawline.records import TrainingRecord
from thawline.strategies.base import Strategy, variants
from thawline.studies.experiment import Experiment

RATE_LADDER = tuple(round(step * 10.0**power, 12) for power in range(-7, 1) for step in (1, 3))
"""Half decades, 1e-7 to 3: the grid and its extensions."""
MAX_EXTENSIONS = 4
"""Rates tried beyond the ends of the grid, at most."""


@dataclass(frozen=True)
class Tuned:
    """The best of a strategy's trainings on validation."""

    strategy: str
    """With arguments: last_blocks:k=3."""
    learning_rate: float
    plan: FineTunePlan
    score: tuple[float, float]
    """Validation accuracy, then (ties) negative validation loss."""
    records: tuple[TrainingRecord, ...]
    """Every training that led to it."""


@dataclass(frozen=True)
class Context:
    """What a strategy may know and ask; implements `plan.StrategyContext`."""

    experiment: Experiment
    strategy: Strategy
    learning_rate: float
    asked: list[Tuned] = field(default_factory=list)
    """What `tune` answered so far."""
    scored: list[TrainingRecord] = field(default_factory=list)
    """The trainings behind `score`."""

    @property
    def granularity(self) -> Granularity:
        """The strategy's own, or that of the run."""
        return self.strategy.granularity or self.experiment.request.granularity

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The model's blocks, the head last."""
        return self.experiment.blocks(self.granularity)

    @property
    def epochs(self) -> int:
        """Nominal number of epochs."""
        return self.experiment.request.train.epochs

    def score(self, plan: FineTunePlan) -> tuple[float, float]:
        """Train `plan` with the tuning seed."""
        record = _train(self.experiment, plan, self.strategy.spec, self.learning_rate)
        self.scored.append(record)
        return record.score

    def tune(self, strategy: str) -> Tuned:
        """The best plan of another strategy."""
        self.asked.append(tune(self.experiment, strategy, score=True))
        return self.asked[-1]


def tune(experiment: Experiment, spec: str, *, score: bool = False) -> Tuned:
    """Try every open argument of `spec` at every rate of the grid, and further where the best lies at an end.

    With a given base rate and no open argument there is nothing to choose, and nothing is trained unless `score` asks
    for it. Raises `NonFiniteLossError` if every training diverged.
    """
    candidates = variants(spec)
    if candidates[0].compares:
        return _choose(experiment, candidates[0])
    given = experiment.request.search.learning_rate
    if given is not None and len(candidates) == 1 and not score:
        context = Context(experiment, candidates[0], given)
        plan = candidates[0].propose(context)
        return Tuned(candidates[0].spec, given, plan, (0.0, 0.0), tuple(context.scored))
    rates = RATE_GRID if given is None else (given,)
    asked: list[TrainingRecord] = []
    tried = [_try(experiment, strategy, rate, asked) for strategy in candidates for rate in rates]
    if given is None:
        tried = _extend(experiment, candidates, tried, asked)
    return _best(spec, tried, asked)


def _try(experiment: Experiment, strategy: Strategy, rate: float, asked: list[TrainingRecord]) -> TrainingRecord:
    """Train the strategy's plan at `rate`; trainings that the strategy asked for to make it are added to `asked`."""
    context = Context(experiment, strategy, rate)
    plan = strategy.propose(context)
    asked += context.scored
    return _train(experiment, plan, strategy.spec, rate)


def _train(experiment: Experiment, plan: FineTunePlan, spec: str, rate: float) -> TrainingRecord:
    return experiment.train(plan, strategy=spec, learning_rate=rate, seed=experiment.tuning_seed, purpose="tuning")


def _extend(
    experiment: Experiment,
    candidates: Sequence[Strategy],
    tried: list[TrainingRecord],
    asked: list[TrainingRecord],
) -> list[TrainingRecord]:
    """Follow the best rate beyond the end of the grid while it lies there."""
    by_spec = {strategy.spec: strategy for strategy in candidates}
    for _ in range(MAX_EXTENSIONS):
        best = max(tried, key=lambda record: record.score)
        rates = [record.learning_rate for record in tried if record.strategy == best.strategy]
        step = 1 if best.learning_rate == max(rates) else -1 if best.learning_rate == min(rates) else 0
        position = RATE_LADDER.index(best.learning_rate) + step
        if step == 0 or best.best is None or not 0 <= position < len(RATE_LADDER):
            break
        tried = [*tried, _try(experiment, by_spec[best.strategy], RATE_LADDER[position], asked)]
    return tried


def _best(spec: str, tried: Sequence[TrainingRecord], asked: Sequence[TrainingRecord]) -> Tuned:
    best = max(tried, key=lambda record: record.score)
    if best.best is None:
        raise NonFiniteLossError(f"{spec}: every training diverged, the last with: {tried[-1].error}")
    plan = FineTunePlan.from_dict(best.plan)
    records = {one.key: one for one in (*asked, *tried)}
    return Tuned(best.strategy, best.learning_rate, plan, best.score, tuple(records.values()))


def _choose(experiment: Experiment, strategy: Strategy) -> Tuned:
    """Let a strategy that compares others do so; its answer is one of theirs, at the price of all."""
    context = Context(experiment, strategy, BASE_RATE)
    plan = strategy.propose(context)
    chosen = next(tuned for tuned in context.asked if tuned.plan == plan)
    return replace(chosen, records=tuple(record for tuned in context.asked for record in tuned.records))
