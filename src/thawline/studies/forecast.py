"""Forecasts how long a run will take on this machine, before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from weakref import WeakKeyDictionary

from thawline.config import BASE_RATE, TRAININGS_PER_ROW, Request
from thawline.plan import FineTunePlan
from thawline.records import furthest
from thawline.runs.experiment import Experiment
from thawline.strategies.auto import AutoConfig, Budget
from thawline.strategies.base import Strategy
from thawline.strategies.biotune import EvolutionConfig
from thawline.strategies.context import Score, Tuned
from thawline.strategies.full import Full
from thawline.studies.answers import MEMBERS
from thawline.studies.tuning import RATE_LADDER, Unscored, asked_for, candidates, has_rate
from thawline.training.measure import VALIDATION_SHARE, StepCost, step_cost
from thawline.training.trainer import Trainer

BASELINES = 3
"""Rows that `fit` trains beside the result of a search: the probe, the last blocks, everything."""
BASELINES_AGAIN = 4
"""The same where a model is fitted again: first blocks, last blocks, norms, everything."""
UNITS_PER_TRAINING = 0.1
"""Mean units of work of a training up to its next rung: most end after a few epochs, many train few blocks."""
TRAININGS_PER_CANDIDATE = 3
"""On average: some candidates are promoted from rung to rung, and the best get extra seeds."""

FEW_IMAGES = 8
"""In the steps from which the time of a forward pass is estimated."""

_MEASURED: WeakKeyDictionary[Trainer, dict[tuple[str, int | None], StepCost]] = WeakKeyDictionary()
"""What steps take, by trainer, plan and number of images."""


@dataclass(frozen=True)
class Forecast:
    """An upper bound: no training stops early. Trainings with which a tuned strategy makes its plan are left out.

    A search limited to a number of candidates is the exception: it is forecast from their mean cost.
    """

    seconds: float
    units: float
    """Units of work, without the passes through frozen prefixes."""
    trainings: int
    memory_bytes: int = 0
    """Memory of the largest step, without caches and the interpreter."""

    def plus(self, other: Forecast, *, times: int) -> Forecast:
        """This and `times` times the other."""
        return Forecast(
            self.seconds + times * other.seconds,
            self.units + times * other.units,
            self.trainings + times * other.trainings,
            max(self.memory_bytes, other.memory_bytes),
        )

    @classmethod
    def sum(cls, parts: Iterable[Forecast]) -> Forecast:
        """All of them together."""
        return reduce(lambda total, part: total.plus(part, times=1), parts, cls(0.0, 0.0, 0))


def forecast(experiment: Experiment, specs: Sequence[str]) -> Forecast:
    """Time a few real steps of every plan that will be trained and add them up. Costs a second or two."""
    return Forecast.sum(forecasts(experiment, specs).values())


def forecasts(experiment: Experiment, specs: Sequence[str]) -> dict[str, Forecast]:
    """The same for each strategy."""
    whole, experiment = experiment, experiment.searching
    # On a CPU an image takes about as long in a small batch, which takes the memory that only a full training needs.
    images = FEW_IMAGES if experiment.trainer.device.type == "cpu" else None
    forward = VALIDATION_SHARE * _step(experiment, _plan(experiment, Full()), images).seconds_per_image
    seeds = experiment.request.search.seeds
    found: dict[str, Forecast] = {}
    refits = 1 if experiment.request.refit else 0
    for spec in dict.fromkeys(specs):
        total = Forecast(0.0, 0.0, 0)
        strategy = asked_for(experiment, spec)[0]
        if strategy.searches:
            estimate = SearchEstimate(experiment, strategy, BASE_RATE, forward=forward)
            strategy.search(estimate)
            total = total.plus(_in_units_of(whole, estimate.total), times=1)
            # On other images, all members of a mixture are trained anew.
            times = seeds * (_members(strategy) if whole.sample else 1)
            total = total.plus(_single_training(whole, Full(), forward), times=times)
            full = _single_training(whole, Full(), forward, share=whole.refit_share)
            found[spec] = total.plus(full, times=refits * _members(strategy))
            continue
        modes = candidates(experiment, spec)
        strategies = [first for first, *_ in modes]
        costs = [_single_training(experiment, strategy, forward) for strategy in strategies]
        dearest = max(costs, key=lambda cost: cost.seconds)
        left = _tunings_left(experiment, modes)
        # The arguments come first, one training each; which of them the rates are then tried with is not known yet.
        for cost in costs[:left]:
            total = total.plus(cost, times=1)
        total = _in_units_of(whole, total.plus(dearest, times=max(0, left - len(costs))))
        finals = [_single_training(whole, each, forward) for each in strategies]
        total = total.plus(max(finals, key=lambda cost: cost.seconds), times=seeds)
        most = (_single_training(whole, each, forward, share=whole.refit_share) for each in strategies)
        found[spec] = total.plus(max(most, key=lambda cost: cost.seconds), times=refits)
    return found


def _in_units_of(whole: Experiment, searched: Forecast) -> Forecast:
    """What is tuned and searched, on a sample of the images if there is one, in units of all of them."""
    if whole.sample is None:
        return searched
    return replace(searched, units=searched.units * whole.sample.unit_flops / whole.unit_flops)


def _members(strategy: Strategy | AutoConfig) -> int:
    """Trainings at most that the saved model of a search is made of; that of a distilled one is a further one."""
    if not isinstance(strategy, AutoConfig) or strategy.answer == "pick":
        return 1
    return MEMBERS + (strategy.answer == "distilled")


@dataclass(frozen=True)
class SearchEstimate(Unscored):
    """Adds up what a search asks for, as if every plan trained everything, instead of training it."""

    forward: float = 0.0
    """Seconds per validation image."""
    costs: list[Forecast] = field(default_factory=list)

    @property
    def total(self) -> Forecast:
        """Everything that was asked for so far."""
        return Forecast.sum(self.costs)

    @cached_property
    def full(self) -> Forecast:
        """A full fine-tuning."""
        return _single_training(self.experiment, Full(), self.forward)

    def score(self, plan: FineTunePlan) -> Score:
        """A training, unless the ledger has it."""
        if not self.experiment.is_tuned(plan):
            self.costs.append(self.full)
        return super().score(plan)

    def tune(self, strategy: str) -> Tuned:
        """The trainings that tune the strategy and are not in the ledger."""
        left = _tunings_left(self.experiment, candidates(self.experiment, strategy), scored=True)
        self.costs.append(Forecast(0.0, 0.0, 0).plus(self.full, times=left))
        return super().tune(strategy)

    def evolve(self, settings: EvolutionConfig) -> Tuned:
        """All candidates on their folds and the top ones on the full training split."""
        done = sum(record.purpose == "search" for record in self.experiment.ledger.of(self._name()))
        part = _single_training(self.experiment, Full(), self.forward, share=1 / settings.folds)
        folds = max(0, settings.evaluations * settings.seeds - done)
        self.costs.append(Forecast(0.0, 0.0, 0).plus(part, times=folds))
        self.costs.append(Forecast(0.0, 0.0, 0).plus(self.full, times=settings.top * settings.seeds))
        return super().evolve(settings)

    def halve(self, settings: AutoConfig) -> Tuned:
        """What is left of the budget, and the final trainings of the baselines beside the result."""
        budget, full = Budget.parse(settings.budget), self.full
        units = {
            "work": budget.amount,
            "seconds": budget.amount / full.seconds,
            # Limited by candidates alone, the search leaves the whole training of a distilled answer to come on top.
            "candidates": budget.amount * TRAININGS_PER_CANDIDATE * UNITS_PER_TRAINING
            + (settings.answer == "distilled"),
        }[budget.unit]
        records = self.experiment.ledger.of(self._name())
        done = furthest(record for record in records if record.purpose == "search")
        units = max(0.0, units - sum(record.work for record in done))
        self.costs.append(Forecast(units * full.seconds, units, round(units / UNITS_PER_TRAINING), full.memory_bytes))
        request = self.experiment.request
        seeds = request.search.seeds
        if request.images.stream:  # then final trainings are on other images, without baselines
            return super().halve(settings)
        baselines = BASELINES_AGAIN if self.experiment.keeps_head else BASELINES
        finals = baselines * seeds if request.verb == "fit" else 0
        # The first training of the result is within the budget, and so is what its rows are made of.
        self.costs.append(Forecast(0.0, 0.0, 0).plus(full, times=finals - 1))
        self.costs.append(Forecast(0.0, 0.0, 0).plus(full, times=(seeds - 1) * _further_members(settings, request)))
        return super().halve(settings)


def _further_members(settings: AutoConfig, request: Request) -> int:
    """Trainings at most that a further seed of the answer, and of the rows that `fit` has beside it, takes besides one.

    A mixture trains every member anew; a training that two rows share is counted for both.
    """
    answer = _members(settings)
    beside = {"pick": 1, "ensemble": MEMBERS} if request.verb == "fit" else {}
    return answer - 1 + sum(members for name, members in beside.items() if name != settings.answer)


def _tunings_left(experiment: Experiment, modes: Sequence[Sequence[Strategy]], *, scored: bool = False) -> int:
    """Trainings that tune a strategy and are not in the ledger; `scored` = its score is asked for."""
    given = experiment.request.search.learning_rate
    # One for each combination of arguments, and one for each further norm mode of the best of them.
    choices = len(modes) + max(map(len, modes)) - 1
    walks = given is None and has_rate(experiment, modes[0][0])
    if not walks and choices == 1 and not scored:
        return 0
    rates = RATE_LADDER if walks else (given or BASE_RATE,)
    plans = (_plan(experiment, strategy, rate) for choice in modes for strategy in choice for rate in rates)
    done = sum(map(experiment.is_tuned, plans))
    return max(0, (TRAININGS_PER_ROW if walks else choices) - done)


def _single_training(experiment: Experiment, strategy: Strategy, forward: float, *, share: float = 1.0) -> Forecast:
    """A training of all nominal epochs on a share of the images; `forward` = seconds per validation image."""
    train, val = len(experiment.data.train), len(experiment.data.val)
    plan = _plan(experiment, strategy)
    epochs = 1 if plan.is_untrained else experiment.request.train.epochs
    units = experiment.training_work(plan, epochs, share)
    step = _step(experiment, plan)
    seconds = epochs * (step.seconds_per_image * share * train + forward * val)
    if not experiment.request.cache.off:
        # The steps that were timed went through the frozen blocks, too, whose outputs are kept.
        unit = experiment.request.train.epochs * forward * (train / VALIDATION_SHARE + val)
        seconds = min(seconds, unit * (units + experiment.prefix_work(plan)))
    return Forecast(seconds, units, 1, step.memory_bytes)


def _plan(experiment: Experiment, strategy: Strategy, rate: float = BASE_RATE) -> FineTunePlan:
    return strategy.plan(Unscored(experiment, strategy, rate))


def _step(experiment: Experiment, plan: FineTunePlan, images: int | None = None) -> StepCost:
    """What a training step of the plan takes, on `images` at most; a trainer measures each plan once."""
    known, key = _MEASURED.setdefault(experiment.trainer, {}), (plan.to_json(), images)
    if key not in known:
        known[key] = step_cost(experiment.trainer, plan, experiment.blocks(plan.granularity), images)
    return known[key]
