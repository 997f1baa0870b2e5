"""The search of `auto` on one experiment: its rungs, its budget, and how its candidates are trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from thawline.model.apply import has_statistics
from thawline.plan import Block, FineTunePlan, Granularity
from thawline.records import TrainingRecord, furthest
from thawline.runs.experiment import Experiment
from thawline.search.auto_findings import auto_findings
from thawline.search.baselines import starts, usual_ways
from thawline.search.budget import CandidateMeter, Meter, Purse, TimeMeter, WorkMeter
from thawline.search.candidates import Scored, Task
from thawline.search.encoding import BioTuneEncoding, FreeEncoding, Invertible, Space
from thawline.search.halving import Halved, Halving
from thawline.search.samplers import make_sampler
from thawline.search.trials import CandidateLedger
from thawline.strategies.auto import AutoConfig, Budget, SamplerName
from thawline.studies.biotune import Found, facts_of, require_trained
from thawline.training.executors import InlineExecutor
from thawline.training.measure import VALIDATION_SHARE, seconds_per_image
from thawline.training.pause import Paused

RUNGS = (1 / 6, 1 / 3, 1.0)
"""Shares of the nominal epochs after which it is decided which candidates go on."""
FEWEST_EPOCHS = 2
"""Of a rung: after one epoch scores say little."""
PAUSED_BYTES = 1 << 30
"""Memory that paused trainings may take, besides the caches; those beyond it begin anew when they go on."""
RACE_SEEDS = 3
"""Trainings of one plan at most, where the best are too close to tell."""


@dataclass
class RungTrainings:
    """Trains candidates rung by rung, each from where it paused; implements `search.purse.Priced`."""

    experiment: Experiment
    strategy: str
    rungs: tuple[int, ...]
    paused: dict[str, Paused] = field(default_factory=dict)
    """By the key of the training that paused; what is missing is trained anew, with the same result."""

    @property
    def validation_images(self) -> int:
        """Size of the validation split."""
        return len(self.experiment.data.val)

    def key(self, task: Task) -> str:
        """Of the plan, the seed, the epoch where it stops."""
        return self.experiment.key(task.plan, task.seed, until=self._until(task))

    def find(self, task: Task) -> TrainingRecord | None:
        """From the run's ledger."""
        return self.experiment.find(self._record(task))

    def train(self, task: Task) -> TrainingRecord:
        """On from the rung below; a training that ended there stays as it is."""
        record, before = self._record(task), self._before(task)
        if before is not None and self._is_over(before, task):
            return replace(before, key=record.key, until=record.until)
        start = None if before is None else self.paused.pop(before.key, None)
        trained, paused = self.experiment.go_on(record, before, start)
        if paused is not None:
            self._keep_paused(record.key, paused)
        if trained.error:
            # How far it came is not known; that it costs nothing must not be said either.
            return replace(
                trained, work=self.price(task.plan, task.rung), epochs=() if before is None else before.epochs
            )
        return trained

    def _is_over(self, before: TrainingRecord, task: Task) -> bool:
        """Whether the training up to the rung below ran out of patience there."""
        patience, ran = self.experiment.request.train.patience, len(before.epochs)
        out_of_patience = 0 < patience <= ran - 1 - (before.best_epoch or 0)
        return ran < self.rungs[task.rung - 1] or out_of_patience

    def keep(self, record: TrainingRecord) -> None:
        """In the run's ledger."""
        self.experiment.keep(record)

    def price(self, plan: FineTunePlan, rung: int) -> float:
        """From the table of FLOPs."""
        return self.experiment.training_work(plan, self.rungs[rung])

    def prefix(self, plan: FineTunePlan) -> tuple[str, float]:
        """Once per first trained block."""
        return self.experiment.boundary(plan)[1], self.experiment.prefix_work(plan)

    def _until(self, task: Task) -> int | None:
        return None if task.rung == len(self.rungs) - 1 else self.rungs[task.rung]

    def _before(self, task: Task) -> TrainingRecord | None:
        """The same training up to the rung below; none for the further seeds of a race."""
        if task.rung == 0:
            return None
        return self.experiment.ledger.find(self.key(replace(task, rung=task.rung - 1)))

    def _record(self, task: Task) -> TrainingRecord:
        head = task.plan.blocks[-1]
        return TrainingRecord(
            self.key(task),
            "search",
            self.strategy,
            task.plan.highest_rate(head) or 0.0,
            task.seed,
            task.plan.to_dict(),
            generation=task.generation,
            slot=task.slot,
            until=self._until(task),
        )

    def _keep_paused(self, key: str, paused: Paused) -> None:
        """The latest ones."""
        self.paused[key] = paused
        while self.paused and sum(one.bytes for one in self.paused.values()) > PAUSED_BYTES:
            self.paused.pop(next(iter(self.paused)))


def search_auto(
    experiment: Experiment,
    settings: AutoConfig,
    blocks: tuple[Block, ...],
    granularity: Granularity,
    base_rate: float,
    spec: str,
    *,
    executor: Executor | None = None,
) -> Found:
    """Run a whole search of `auto`, or the rest of an interrupted one.

    Candidates train on the training split and are scored on the validation split. Raises `NonFiniteLossError` if even
    the winner diverged.
    """
    encoding = _encoding(settings, len(blocks), norms=has_statistics(experiment.model.module))
    space = Space(encoding, blocks, granularity, base_rate)
    trainings = RungTrainings(experiment, spec, rung_epochs(experiment.request.train.epochs, settings))
    ledger = CandidateLedger(experiment.ledger.storage, f"thawline-search:{spec}", space, facts_of(experiment))
    first = experiment.tuning_seed
    norms = isinstance(encoding, FreeEncoding) and encoding.norms
    sampler: SamplerName = settings.sampler  # type: ignore[assignment]  # checked when it was set
    halving = Halving(
        space,
        encoding,
        make_sampler(sampler, encoding, experiment.request.images.seed),
        starts(len(blocks), norms=norms) if settings.has("starts") else (),
        trainings,
        Purse(space, trainings, _meter(experiment, Budget.parse(settings.budget), ledger, spec)),
        ledger,
        executor or InlineExecutor(),
        range(first, first + (RACE_SEEDS if settings.has("race") else 1)),
        thrift=settings.has("thrift"),
        on_best=lambda best: _keep_best(experiment, space, best),
    )
    halved = halving.run()
    require_trained(halved.winner)
    return _found(halved, space, encoding, settings, trainings.rungs, spec)


def _keep_best(experiment: Experiment, space: Space, best: Scored) -> None:
    """The best answer of `fit` is there at any moment; a comparison has no single one."""
    if experiment.request.verb == "fit":
        experiment.keep_plan(space.plan(best.candidate.genes))


def rung_epochs(nominal: int, settings: AutoConfig) -> tuple[int, ...]:
    """Numbers of epochs after which candidates are compared, the nominal one last."""
    if not settings.has("rungs"):
        return (nominal,)
    return tuple(sorted({min(nominal, max(FEWEST_EPOCHS, math.ceil(share * nominal))) for share in RUNGS}))


def _encoding(settings: AutoConfig, blocks: int, *, norms: bool) -> BioTuneEncoding | FreeEncoding:
    if not settings.has("decoupling"):
        return BioTuneEncoding(blocks)
    return FreeEncoding(blocks, norms and settings.has("norms"))


def _meter(experiment: Experiment, budget: Budget, ledger: CandidateLedger, spec: str) -> Meter:
    if budget.unit == "work":
        return WorkMeter(budget.amount)
    if budget.unit == "candidates":
        return CandidateMeter(int(budget.amount))
    pace = ledger.settled("seconds_per_unit", lambda: seconds_per_unit(experiment))
    spent = sum(record.seconds for record in furthest(experiment.ledger.of(spec)))
    return TimeMeter(budget.amount, pace, ledger.clockings, known_seconds=spent)


def seconds_per_unit(experiment: Experiment) -> float:
    """About how long a full fine-tuning takes here, from a few real steps."""
    blocks = experiment.blocks("stage")
    plan = FineTunePlan.constant(blocks, {block.name: 1e-3 for block in blocks})
    images = len(experiment.data.train) + VALIDATION_SHARE * len(experiment.data.val)
    return experiment.request.train.epochs * images * seconds_per_image(experiment.trainer, plan, blocks)


def _found(
    halved: Halved, space: Space, encoding: Invertible, settings: AutoConfig, rungs: Sequence[int], spec: str
) -> Found:
    winner = space.plan(halved.winner.candidate.genes)
    named = halved.start.strategy if halved.start else ""
    summary = auto_findings(halved, space, settings, rungs)
    return Found(winner, halved.winner.score, halved.trainings, summary, named or spec, _ways(halved, space, encoding))


def _ways(halved: Halved, space: Space, encoding: Invertible) -> Mapping[str, Found]:
    """The best of each fixed strategy; at its first rate where the budget was too small to try it."""
    found: dict[str, Found] = {}
    for way, start in usual_ways(len(space.network)).items():
        plan = space.plan(encoding.genes_of(start.phenotype, start.norm))
        found[way] = Found(plan, (0.0, 0.0), (), None, start.strategy)
    for start, scored in halved.ways:
        plan = space.plan(scored.candidate.genes)
        found[start.way] = Found(plan, scored.score, halved.trainings_of(start.way), None, start.strategy)
    return found
