"""Trainings whose scores are written down, and what a search needs around them: real decisions, nothing trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import optuna
from optuna.storages import BaseStorage, InMemoryStorage

from tests.search.fakes import IMAGES, PriceList, training
from thawline.plan import Block, FineTunePlan
from thawline.records import TrainingRecord
from thawline.search.candidates import Genes, Scored, Task
from thawline.search.encoding import MOVING, FreeEncoding, Phenotype, Space
from thawline.search.samplers import Proposal
from thawline.search.trials import CandidateLedger

BLOCKS = tuple(Block(name, (), (), (), 1, 1, (), name == "head") for name in ("a", "b", "c", "head"))
ENCODING = FreeEncoding(4)
SPACE = Space(ENCODING, BLOCKS, "stage", 1e-3)

Curve = float | Sequence[float]
"""Validation score of every epoch, or of all of them."""


def genes(phenotype: Phenotype) -> Genes:
    return ENCODING.genes_of(phenotype, MOVING)


def plan(phenotype: Phenotype) -> FineTunePlan:
    return SPACE.plan(genes(phenotype))


@dataclass
class Scripted(PriceList):
    """Answers with what is written down for a plan, and for a plan and a seed where that differs."""

    curves: Mapping[Phenotype, Curve]
    by_seed: Mapping[tuple[Phenotype, int], Curve] = field(default_factory=dict)
    failing: frozenset[Phenotype] = frozenset()
    trained: list[tuple[Phenotype, int, int]] = field(default_factory=list)
    """Phenotype, rung and seed of every task, in order."""
    tasks: list[Task] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    """Number of tasks in every call."""
    passing: Mapping[str, float] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    """Keys of the tasks that were begun ahead."""
    before: Mapping[Phenotype, int] = field(default_factory=dict)
    """Rungs up to which plans had been trained before the search."""

    def known(self, task: Task) -> TrainingRecord | None:
        phenotype = self.phenotype(task)
        return self._record(task) if self.before.get(phenotype) == task.rung else None

    def key(self, task: Task) -> str:
        return f"{self.phenotype(task)}/{task.fold}/{task.seed}/{task.rung}"

    def train_all(self, tasks: Iterable[Task]) -> dict[str, TrainingRecord]:
        batch = list(tasks)
        self.batches.append(len(batch))
        return {self.key(task): self._train(task) for task in batch}

    def ahead(self, tasks: Iterable[Task]) -> None:
        self.begun.update(map(self.key, tasks))

    def phenotype(self, task: Task) -> Phenotype:
        return next(phenotype for phenotype in self.curves if plan(phenotype) == task.plan)

    def _train(self, task: Task) -> TrainingRecord:
        phenotype = self.phenotype(task)
        self.trained.append((phenotype, task.rung, task.seed))
        self.tasks.append(task)
        return self._record(task)

    def _record(self, task: Task) -> TrainingRecord:
        phenotype = self.phenotype(task)
        work = self.price(task.plan, task.rung)
        if phenotype in self.failing:
            return replace(training([0.0], work=work, key=self.key(task)), epochs=(), best_epoch=None, error="nan")
        curve = self.by_seed.get((phenotype, task.seed), self.curves[phenotype])
        scores = list(curve if isinstance(curve, Sequence) else [curve] * self.rungs[-1])[: self.rungs[task.rung]]
        right = [image < round(max(scores) * IMAGES) for image in range(IMAGES)]
        return replace(training(scores, work=work, right=right, key=self.key(task)), seed=task.seed)


@dataclass
class Listed:
    """A sampler that proposes what it is given, by generation."""

    proposals: Mapping[int, Sequence[Phenotype]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    ranked: list[list[Scored]] = field(default_factory=list)
    """The candidates so far, at every question."""

    def draws(self, ranked: Sequence[Scored], generation: int) -> Iterator[Proposal]:
        self.asked.append(generation)
        self.ranked.append(list(ranked))
        for phenotype in self.proposals.get(generation, ()):
            yield Proposal(genes(phenotype), "child", ((0, 0),))


def ledger(storage: BaseStorage | None = None, **facts: object) -> CandidateLedger:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return CandidateLedger(storage or InMemoryStorage(), "search", SPACE, facts)
