"""Tuning of learning rates and arguments on validation: the same rule and the same number of trainings for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from thawline.config import BASE_RATE, TRAININGS_PER_ROW
from thawline.errors import NonFiniteLossError, PlanError
from thawline.plan import Block, FineTunePlan, Granularity
from thawline.records import TrainingRecord
from thawline.runs.experiment import Experiment
from thawline.strategies.auto import AutoConfig
from thawline.strategies.base import Strategy, variants
from thawline.strategies.biotune import EvolutionConfig
from thawline.studies.auto import search_auto
from thawline.studies.biotune import Found, search

RATE_LADDER = tuple(round(step * 10.0**power, 12) for power in range(-7, 1) for step in (1, 3))
"""Half decades, 1e-7 to 3: more on both sides of `BASE_RATE` than the trainings of a row can walk to."""

Score = tuple[float, float]
"""Validation score, then (ties) negative validation loss; below 0 = the training failed."""


@dataclass(frozen=True)
class Tuned:
    """The best of a strategy's trainings on validation."""

    strategy: str
    """With arguments: last_blocks:k=3."""
    learning_rate: float
    plan: FineTunePlan
    score: Score
    records: tuple[TrainingRecord, ...]
    """Every training that led to it."""
    search: Mapping[str, Any] | None = None
    """What a search found on its way, for the report; None if the plan comes from none."""
    ways: Mapping[str, Tuned] = field(default_factory=dict)
    """Fixed strategies that the search tuned on its way, by name."""


@dataclass(frozen=True)
class Context:
    """What a strategy may know and ask; implements `strategies.context.StrategyContext`."""

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

    def score(self, plan: FineTunePlan) -> Score:
        """Train `plan` with the tuning seed."""
        record = _train(self.experiment, plan, self.strategy.spec, self.learning_rate)
        self.scored.append(record)
        return record.score

    def tune(self, strategy: str) -> Tuned:
        """The best plan of another strategy."""
        self.asked.append(tune(self.experiment, strategy, score=True))
        return self.asked[-1]

    def search(self, settings: EvolutionConfig | AutoConfig) -> Tuned:
        """The plan that a search ends with."""
        where = (self.blocks, self.granularity, self.learning_rate, self.strategy.spec)
        if isinstance(settings, AutoConfig):
            tuned = _tuned(search_auto(self.experiment, settings, *where))
        else:
            # Evolution takes its base rate as given; auto finds the head's.
            tuned = replace(_tuned(search(self.experiment, settings, *where)), learning_rate=self.learning_rate)
        self.asked.append(tuned)
        return tuned


@dataclass(frozen=True)
class Unscored(Context):
    """For plans that are only looked at: what a strategy asks for to make its plan is not trained."""

    def score(self, plan: FineTunePlan) -> Score:
        """The same for every plan."""
        return (0.0, 0.0)

    def search(self, settings: EvolutionConfig | AutoConfig) -> Tuned:
        """Everything at the base rate."""
        rates = {block.name: self.learning_rate for block in self.blocks}
        plan = FineTunePlan.constant(self.blocks, rates, granularity=self.granularity)
        return Tuned(self.strategy.spec, self.learning_rate, plan, (0.0, 0.0), ())


def tune(experiment: Experiment, spec: str, *, score: bool = False) -> Tuned:
    """Try every open argument of `spec` at `BASE_RATE`, then, with the best of them, one rate after the other.

    All in all `TRAININGS_PER_ROW` trainings, whatever the strategy; those that a strategy asks for to make its plan
    come on top. A given base rate is the only one that is tried; with no open argument there is nothing to choose then,
    and nothing is trained unless `score` asks for it. Raises `NonFiniteLossError` if every training failed.
    """
    if variants(spec)[0].compares or variants(spec)[0].searches:
        return _choose(experiment, variants(spec)[0])
    strategies = candidates(experiment, spec)
    given = experiment.request.search.learning_rate
    if given is not None and len(strategies) == 1 and not score:
        context = Context(experiment, strategies[0], given)
        plan = strategies[0].propose(context)
        return Tuned(strategies[0].spec, given, plan, (0.0, 0.0), tuple(context.scored))
    asked: list[TrainingRecord] = []
    tried = [_try(experiment, strategy, given or BASE_RATE, asked) for strategy in strategies]
    if given is None:
        best = max(range(len(tried)), key=lambda number: tried[number].score)
        tried += _walk(experiment, strategies[best], tried[best], TRAININGS_PER_ROW - len(tried), asked)
    return _best(spec, tried, asked)


def candidates(experiment: Experiment, spec: str) -> tuple[Strategy, ...]:
    """The strategies that tuning tries for `spec`; of a grid only those that the model has blocks for.

    Raises `PlanError` if it has for none.
    """
    fitting, refusals = [], []
    for strategy in variants(spec):
        try:
            strategy.propose(Unscored(experiment, strategy, BASE_RATE))
        except PlanError as error:
            refusals.append(error)
        else:
            fitting.append(strategy)
    if not fitting:
        raise refusals[0]
    return tuple(fitting)


def next_rate(tried: Mapping[float, Score]) -> float:
    """The untried rate of `RATE_LADDER` that is nearest to the best one, of two the higher.

    So rates are tried outwards from the best, and past either end of those tried while the best lies there. Nothing is
    tried above a rate at which the training failed: it would diverge, too.
    """
    best = RATE_LADDER.index(max(tried, key=lambda rate: tried[rate]))
    diverged = min((rate for rate, score in tried.items() if score[0] < 0), default=float("inf"))
    untried = [position for position, rate in enumerate(RATE_LADDER) if rate not in tried and (rate < diverged)]
    return RATE_LADDER[min(untried, key=lambda position: (abs(position - best), -position))]


def _walk(
    experiment: Experiment, strategy: Strategy, first: TrainingRecord, trainings: int, asked: list[TrainingRecord]
) -> list[TrainingRecord]:
    """So many further trainings of one strategy, each at the `next_rate`."""
    walked = [first]
    for _ in range(trainings):
        rate = next_rate({record.learning_rate: record.score for record in walked})
        walked.append(_try(experiment, strategy, rate, asked))
    return walked[1:]


def _try(experiment: Experiment, strategy: Strategy, rate: float, asked: list[TrainingRecord]) -> TrainingRecord:
    """Train the strategy's plan at `rate`; trainings that the strategy asked for to make it are added to `asked`."""
    context = Context(experiment, strategy, rate)
    plan = strategy.propose(context)
    asked += context.scored
    return _train(experiment, plan, strategy.spec, rate)


def _train(experiment: Experiment, plan: FineTunePlan, spec: str, rate: float) -> TrainingRecord:
    return experiment.train(plan, strategy=spec, learning_rate=rate, seed=experiment.tuning_seed, purpose="tuning")


def _best(spec: str, tried: list[TrainingRecord], asked: list[TrainingRecord]) -> Tuned:
    best = max(tried, key=lambda record: record.score)
    if best.best is None:
        raise NonFiniteLossError(f"{spec}: every training failed, the last with: {tried[-1].error}")
    plan = FineTunePlan.from_dict(best.plan)
    records = {one.key: one for one in (*asked, *tried)}
    return Tuned(best.strategy, best.learning_rate, plan, best.score, tuple(records.values()))


def _tuned(found: Found) -> Tuned:
    """As other tuning has it; the rate is the head's, which always trains."""
    rate = found.plan.highest_rate(found.plan.blocks[-1]) or 0.0
    ways = {name: _tuned(way) for name, way in found.ways.items()}
    return Tuned(found.strategy, rate, found.plan, found.score, found.records, found.summary, ways)


def _choose(experiment: Experiment, strategy: Strategy) -> Tuned:
    """Let a strategy that compares others, or searches, do so; its answer is one it got, at the price of all."""
    context = Context(experiment, strategy, experiment.request.search.learning_rate or BASE_RATE)
    plan = strategy.propose(context)
    chosen = next(tuned for tuned in context.asked if tuned.plan == plan)
    return replace(chosen, records=tuple(record for tuned in context.asked for record in tuned.records))
