"""Settles a strategy on validation: tunes rates and arguments by one rule for all, or trains what a search asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from thawline.config import BASE_RATE, TRAININGS_PER_ROW, Norm
from thawline.errors import NonFiniteLossError, OptionError, PlanError
from thawline.plan import Block, FineTunePlan, Granularity, HeadStart
from thawline.records import TrainingRecord
from thawline.runs.experiment import Experiment, Part
from thawline.search.candidates import Task
from thawline.strategies.auto import AutoConfig
from thawline.strategies.base import NORM_MODES, TUNED, Strategy, variants
from thawline.strategies.biotune import EvolutionConfig
from thawline.strategies.context import Score, Tuned
from thawline.strategies.full import Full
from thawline.studies.answers import handed_over
from thawline.studies.auto import leading_rate, make_halving, rung_epochs, tuned_by_halving
from thawline.studies.biotune import fresh_seeds, make_driver, search_seeds, training_parts, tuned_by_evolution
from thawline.training.pause import PAUSED_BYTES, keep_latest
from thawline.training.trainer import NO_KEPT_HEAD

RATE_LADDER = tuple(round(step * 10.0**power, 12) for power in range(-7, 1) for step in (1, 3))
"""Half decades, 1e-7 to 3: more on both sides of `BASE_RATE` than the trainings of a row can walk to."""


@dataclass
class CandidateTrainings:
    """Trains the candidates of a search, each from where it paused; implements `search.budget.Priced`."""

    experiment: Experiment
    strategy: str
    """Name of the strategy to which the ledger attributes the trainings."""
    rungs: tuple[int, ...]
    """Numbers of epochs after which candidates are promoted, the nominal one last; it alone without rungs."""
    parts: Sequence[Part | None] = ()
    """Parts of the training split by fold; None = all of it."""
    learning_rate: float | None = None
    """Recorded with every training; None = the rate of its head."""
    keeps_weights: bool = False
    """Whether the weights of trainings that ran to the end are kept, so that any of them can be handed over."""
    charge_failures: bool = True
    """Whether a failed training counts as the work that it was allowed to take."""

    @property
    def validation_images(self) -> int:
        """Size of the validation split."""
        return len(self.experiment.data.val)

    def key(self, task: Task) -> str:
        """Fingerprint of the plan, the seed, the images and the epoch at which it pauses."""
        return self.experiment.key(task.plan, task.seed, self._part(task), self._until(task))

    def known(self, task: Task) -> TrainingRecord | None:
        """The ledger's training of a task."""
        return self.experiment.known(self.key(task))

    def train_all(self, tasks: Iterable[Task]) -> dict[str, TrainingRecord]:
        """Records by key, each stored as soon as its training ends: a killed run loses only what was running."""
        tasks, done = list(tasks), dict[str, TrainingRecord]()
        self.ahead(tasks)
        for task in tasks:
            if (key := self.key(task)) not in done:
                done[key] = self._done(task)
        return done

    def ahead(self, tasks: Iterable[Task]) -> None:
        """Have workers begin what `train_all` is going to be asked for, if there are any."""
        self.experiment.ahead(partial(self._done_by, task=task) for task in tasks)

    def price(self, plan: FineTunePlan, rung: int) -> float:
        """Units of work from the table of FLOPs."""
        return self.experiment.training_work(plan, self.rungs[rung])

    def prefix(self, plan: FineTunePlan) -> tuple[str, float]:
        """The first trained block, and the work of one pass through everything before it."""
        return self.experiment.boundary(plan)[1], self.experiment.prefix_work(plan)

    def _done(self, task: Task) -> TrainingRecord:
        record = self._record(task)
        return self.experiment.find(record) or self.experiment.keep(self._train(task, record))

    def _done_by(self, experiment: Experiment, task: Task) -> TrainingRecord:
        return replace(self, experiment=experiment)._done(task)

    def _train(self, task: Task, record: TrainingRecord) -> TrainingRecord:
        """Continue from the rung below; a training that ended there stays as it is."""
        before = self._before(task)
        if before is not None and self._is_over(before, task):
            return replace(before, key=record.key, until=record.until)
        start = None if before is None else self.experiment.paused.pop(before.key, None)
        kept = self.keeps_weights and record.until is None
        trained, paused = self.experiment.go_on(record, before, start, self._part(task), keep_weights=kept)
        if paused is not None:
            keep_latest(self.experiment.paused, record.key, paused, PAUSED_BYTES)
        if trained.error and self.charge_failures:
            # The epoch in which it failed is not known, and a failure must not count as free.
            epochs = () if before is None else before.epochs
            return replace(trained, work=self.price(task.plan, task.rung), epochs=epochs)
        return trained

    def _is_over(self, before: TrainingRecord, task: Task) -> bool:
        """Whether the training up to the rung below ran out of patience there."""
        patience, ran = self.experiment.request.train.patience, len(before.epochs)
        out_of_patience = 0 < patience <= ran - 1 - (before.best_epoch or 0)
        return ran < self.rungs[task.rung - 1] or out_of_patience

    def _before(self, task: Task) -> TrainingRecord | None:
        """The same training up to the rung below; None for extra seeds, which train in one go."""
        if task.rung == 0:
            return None
        return self.experiment.known(self.key(replace(task, rung=task.rung - 1)))

    def _record(self, task: Task) -> TrainingRecord:
        rate = leading_rate(task.plan)
        return TrainingRecord(
            self.key(task),
            "search",
            self.strategy,
            rate if self.learning_rate is None else self.learning_rate,
            task.seed,
            task.plan.to_dict(),
            generation=task.generation,
            slot=task.slot,
            fold=None if self._part(task) is None else task.fold,
            until=self._until(task),
        )

    def _part(self, task: Task) -> Part | None:
        return None if task.fold is None else self.parts[task.fold]

    def _until(self, task: Task) -> int | None:
        """The epoch at which it pauses; None = it runs to its end, which a solved probe reaches at once."""
        return None if task.rung == len(self.rungs) - 1 or task.plan.is_untrained else self.rungs[task.rung]


@dataclass(frozen=True)
class Context:
    """What a strategy may know and ask; implements `strategies.context.StrategyContext`."""

    experiment: Experiment
    strategy: Strategy
    learning_rate: float
    records: list[TrainingRecord] = field(default_factory=list)
    """All trainings that the strategy asked for, in the order in which they ended."""
    searches: list[str] = field(default_factory=list)
    """Names of the searches that it asked for."""

    @property
    def granularity(self) -> Granularity:
        """The strategy's own, or that of the run."""
        return self.strategy.granularity or self.experiment.request.granularity

    @property
    def given_plan(self) -> FineTunePlan | None:
        """The plan of the request."""
        stored = self.experiment.request.plan
        return None if stored is None else FineTunePlan.from_dict(stored)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The model's blocks, the head last."""
        return self.experiment.blocks(self.granularity)

    @property
    def head_is_linear(self) -> bool:
        """Whether a linear probe can be solved."""
        return self.experiment.head_is_linear

    @property
    def head_is_known(self) -> bool:
        """Whether the head is kept whole."""
        return self.experiment.head_is_known

    @property
    def epochs(self) -> int:
        """Nominal number of epochs."""
        return self.experiment.request.train.epochs

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.experiment.request.images.seed

    def score(self, plan: FineTunePlan) -> Score:
        """Train `plan` with the tuning seed, with the norm mode and head start of the strategy."""
        plan = self.strategy.settled(plan)
        record = _train(self.experiment, plan, self.strategy.spec, self.learning_rate)
        self.records.append(record)
        return record.score

    def tune(self, strategy: str) -> Tuned:
        """The best plan of another strategy."""
        return self._asked(tune(self.experiment, strategy, score=True))

    def evolve(self, settings: EvolutionConfig) -> Tuned:
        """Evolution, each candidate trained from its first to its last epoch."""
        name, nominal = self._name(), (self.epochs,)
        parts = training_parts(self.experiment, settings.folds)
        trainings = CandidateTrainings(self.experiment, name, nominal, parts, self.learning_rate, charge_failures=False)
        driver = make_driver(self.experiment, settings, self, trainings, name)
        seeds, fresh = search_seeds(self.experiment, settings), fresh_seeds(self.experiment, settings)
        winner = driver.run(seeds, settings.top, fresh)
        return self._asked(tuned_by_evolution(driver, winner, self.strategy.spec))

    def halve(self, settings: AutoConfig) -> Tuned:
        """Successive halving, each candidate trained rung by rung."""
        name = self._name()
        rungs = rung_epochs(self.epochs, settings)
        trainings = CandidateTrainings(self.experiment, name, rungs, keeps_weights=True)
        halving = make_halving(self.experiment, settings, self, trainings, name)
        winner = halving.run()
        pick = tuned_by_halving(self.experiment, halving, settings, winner, self.strategy.spec)
        return self._asked(handed_over(self.experiment, pick, halving, winner, settings.answer))

    def settled(self, tuned: Tuned) -> Tuned:
        """What a search returned, with every training that the strategy asked for."""
        if tuned.score[0] < 0:
            failed = self.records[-1].error if self.records else "nothing was trained"
            raise NonFiniteLossError(f"{self.strategy.spec}: every training failed, the last with: {failed}")
        return replace(tuned, records=tuple({record.key: record for record in self.records}.values()))

    def _asked(self, tuned: Tuned) -> Tuned:
        self.records.extend(tuned.records)
        return tuned

    def _name(self) -> str:
        """Name of the next search: the strategy's, and for a second one a number."""
        spec, number = self.strategy.spec, len(self.searches) + 1
        self.searches.append(spec if number == 1 else f"{spec}#{number}")
        return self.searches[-1]


@dataclass(frozen=True)
class Unscored(Context):
    """A context for plans that are only looked at: trainings that a strategy asks for are not run."""

    def score(self, plan: FineTunePlan) -> Score:
        """The same for every plan."""
        return (0.0, 0.0)

    def tune(self, strategy: str) -> Tuned:
        """The strategy's plan at the base rate."""
        first = asked_for(self.experiment, strategy)[0]
        return self._untrained(strategy, first.plan(Unscored(self.experiment, first, self.learning_rate)))

    def evolve(self, settings: EvolutionConfig) -> Tuned:
        """Everything at the base rate."""
        return self._untrained(self.strategy.spec, Full().propose(self))

    def halve(self, settings: AutoConfig) -> Tuned:
        """Everything at the base rate."""
        return self._untrained(self.strategy.spec, Full().propose(self))

    def _untrained(self, spec: str, plan: FineTunePlan) -> Tuned:
        return Tuned(spec, self.learning_rate, plan, (0.0, 0.0))


def tune(experiment: Experiment, spec: str, *, score: bool = False) -> Tuned:
    """Try every open argument of `spec` at `BASE_RATE`, then, with the best of them, the norm modes and the rates.

    All in all `TRAININGS_PER_ROW` trainings, whatever the strategy; those that a strategy asks for to make its plan
    come on top. A given base rate is the only one that is tried, and a solved probe has none. With no open argument
    there is nothing to choose then, and nothing is trained unless `score` asks for it. Raises `NonFiniteLossError` if
    every training failed.
    """
    first, given = asked_for(experiment, spec)[0], experiment.request.search.learning_rate
    if first.searches:
        context = Context(experiment, first, given or BASE_RATE)
        return context.settled(first.search(context))
    if experiment.request.plan is not None:
        return _given(experiment, first)
    modes, rate = candidates(experiment, spec), given or BASE_RATE
    if len(modes) == len(modes[0]) == 1 and not score and not (given is None and has_rate(experiment, modes[0][0])):
        return _untrained(experiment, modes[0][0], rate)
    asked: list[TrainingRecord] = []
    tried = _try_all(experiment, [first for first, *_ in modes], rate, asked)
    _, *others = max(modes, key=lambda choice: tried[choice[0]].score)
    tried |= _try_all(experiment, others, rate, asked)
    walked: list[TrainingRecord] = []
    best = max(tried, key=lambda strategy: tried[strategy].score)
    if given is None and has_rate(experiment, best):
        walked = _walk(experiment, best, tried[best], TRAININGS_PER_ROW - len(tried), asked)
    return _best(spec, [*tried.values(), *walked], asked)


def asked_for(experiment: Experiment, spec: str) -> tuple[Strategy, ...]:
    """The variants of `spec`, with the norm mode of the run, and from a kept head if there is one, unless it says."""
    return variants(spec, experiment.request.search.norm, "kept" if experiment.keeps_head else None)


def candidates(experiment: Experiment, spec: str) -> tuple[tuple[Strategy, ...], ...]:
    """The strategies that tuning tries for `spec`, each in the norm modes that it leaves open.

    Of a grid only those that the model has blocks for; raises `PlanError` if it has for none.
    """
    if variants(spec)[0].norm != TUNED and not experiment.has_statistics:
        raise PlanError(f"strategy {spec!r}: the network has no batch norm; leave `norm` out.")
    fitting, refusals = [], []
    for strategy in asked_for(experiment, spec):
        try:
            plan = strategy.plan(Unscored(experiment, strategy, BASE_RATE))
            if plan.head_start == "kept" and not experiment.keeps_head:
                raise PlanError(NO_KEPT_HEAD)
        except PlanError as error:
            refusals.append(error)
        else:
            fitting.append(_modes(experiment, strategy, plan))
    if not fitting:
        raise refusals[0]
    return tuple(fitting)


def require_refittable(experiment: Experiment, spec: str) -> None:
    """Raise `OptionError` if a refit would have to choose on validation: how far to go back to the start."""
    first = asked_for(experiment, spec)[0]
    if first.plan(Unscored(experiment, first, BASE_RATE)).interpolation:
        raise OptionError(
            f"`refit`: {spec} interpolates between weights and chooses the share on validation images, which a refit "
            "does not have; leave `refit` out, or use another strategy."
        )


def has_rate(experiment: Experiment, strategy: Strategy) -> bool:
    """Whether the strategy's plan depends on a learning rate; one that trains nothing does not."""
    return not strategy.plan(Unscored(experiment, strategy, BASE_RATE)).is_untrained


def _modes(experiment: Experiment, strategy: Strategy, plan: FineTunePlan) -> tuple[Strategy, ...]:
    """The strategy with every head start and in every norm mode that it leaves open."""
    if strategy.head_start != TUNED:
        return _norm_modes(experiment, strategy, plan)
    linear: Sequence[HeadStart] = ("random", "probe") if experiment.head_is_linear else ("random",)
    starts: Sequence[HeadStart] = (*linear, "kept") if experiment.keeps_head else linear
    opened = [replace(strategy, head_start=start) for start in starts]
    return tuple(mode for each in opened for mode in _norm_modes(experiment, each, each.settled(plan)))


def _norm_modes(experiment: Experiment, strategy: Strategy, plan: FineTunePlan) -> tuple[Strategy, ...]:
    """The strategy in every norm mode, or as it is if its mode is given or makes no difference to its plan.

    A solved probe fits the statistics that it was made with, so only these are tried with it.
    """
    if strategy.norm != TUNED or not experiment.trains_statistics(plan):
        return (strategy,)
    modes: Sequence[Norm] = ("kept",) if plan.head_start == "probe" else tuple(NORM_MODES)
    return tuple(replace(strategy, norm=mode) for mode in modes)


def _given(experiment: Experiment, strategy: Strategy) -> Tuned:
    """The plan that the user gave, as it is; its rate is that of its fastest block."""
    plan = strategy.propose(Context(experiment, strategy, BASE_RATE))
    rates = (plan.united.highest_rate(block) or 0.0 for block in plan.blocks)
    return Tuned(strategy.spec, max(rates), plan, (0.0, 0.0))


def _untrained(experiment: Experiment, strategy: Strategy, rate: float) -> Tuned:
    context = Context(experiment, strategy, rate)
    plan = strategy.plan(context)
    return Tuned(strategy.spec, _rate_of(plan, rate), plan, (0.0, 0.0), tuple(context.records))


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


def _try_all(
    experiment: Experiment, strategies: Sequence[Strategy], rate: float, asked: list[TrainingRecord]
) -> dict[Strategy, TrainingRecord]:
    """Train the plans of several strategies at `rate`, as `_try`."""
    experiment.ahead(partial(_try, strategy=strategy, rate=rate, asked=[]) for strategy in strategies)
    return {strategy: _try(experiment, strategy, rate, asked) for strategy in strategies}


def _try(experiment: Experiment, strategy: Strategy, rate: float, asked: list[TrainingRecord]) -> TrainingRecord:
    """Train the strategy's plan at `rate`; trainings that the strategy asked for to make it are added to `asked`."""
    context = Context(experiment, strategy, rate)
    plan = strategy.plan(context)
    asked += context.records
    return _train(experiment, plan, strategy.spec, rate)


def _train(experiment: Experiment, plan: FineTunePlan, spec: str, rate: float) -> TrainingRecord:
    rate, seed = _rate_of(plan, rate), experiment.tuning_seed
    return experiment.train(plan, strategy=spec, learning_rate=rate, seed=seed, purpose="tuning")


def _rate_of(plan: FineTunePlan, rate: float) -> float:
    """The base rate that the plan was made from; 0 if nothing in it trains by gradient descent."""
    return 0.0 if plan.is_untrained else rate


def _best(spec: str, tried: list[TrainingRecord], asked: list[TrainingRecord]) -> Tuned:
    best = max(tried, key=lambda record: record.score)
    if best.best is None:
        raise NonFiniteLossError(f"{spec}: every training failed, the last with: {tried[-1].error}")
    plan = FineTunePlan.from_dict(best.plan)
    records = {record.key: record for record in (*asked, *tried)}
    return Tuned(best.strategy, best.learning_rate, plan, best.score, tuple(records.values()))
