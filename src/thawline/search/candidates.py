"""What a search proposes, how it was scored, and who trains it. Candidates and tasks are plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from thawline.errors import NonFiniteLossError
from thawline.plan import FineTunePlan
from thawline.records import TrainingRecord, distinct

Genes = tuple[float, ...]
"""Each from 0 to 1; an `Encoding` says what they mean."""

Operator = Literal["initial", "elite", "probe", "child", "retrained", "start", "drawn"]
"""elite = one of the best, scored again on the new fold; retrained = one of the top, on the full training split;
start = an initial candidate; drawn = proposed by a sampler without parents."""

Address = tuple[int, int]
"""Generation and slot of a candidate."""


@dataclass(frozen=True)
class Candidate:
    """One genotype in one generation. It follows from the seed and the generations before it, and from nothing else."""

    generation: int
    slot: int
    operator: Operator
    genes: Genes
    momentum: Genes
    """Gradient memory: the direction in which this genotype moved last, inherited by its children."""
    parents: tuple[Address, ...]
    fold: int | None
    """Part of the training split that it trains on; None = all of it."""
    rung: int = 0
    """Number of the rung up to which it is trained, in a search that has rungs."""

    @property
    def address(self) -> Address:
        """Generation and slot."""
        return self.generation, self.slot


@dataclass(frozen=True)
class Task:
    """One training of a candidate: pure data, the same wherever and whenever it runs."""

    plan: FineTunePlan
    seed: int
    fold: int | None
    rung: int
    generation: int
    slot: int

    @classmethod
    def of(cls, candidate: Candidate, plan: FineTunePlan, seed: int) -> Task:
        """The training of a candidate, whose plan it is, with one seed."""
        return cls(plan, seed, candidate.fold, candidate.rung, candidate.generation, candidate.slot)


@dataclass(frozen=True)
class Scored:
    """A candidate with its trainings."""

    candidate: Candidate
    trainings: tuple[TrainingRecord, ...]
    """One per seed; a diverged one counts as a validation score of 0."""

    @property
    def per_seed(self) -> tuple[float, ...]:
        """Validation score of every seed, 0 to 1."""
        return tuple(max(0.0, record.score[0]) for record in self.trainings)

    @property
    def score(self) -> tuple[float, float]:
        """Higher is better: mean validation score over seeds, then (ties) mean negative validation loss.

        A diverged training has an infinite loss, so that it ranks below one that learned nothing.
        """
        losses = [-math.inf if record.best is None else record.score[1] for record in self.trainings]
        return float(np.mean(self.per_seed)), float(np.mean(losses))

    @property
    def merit(self) -> tuple[float, float]:
        """Higher is better: negative mean validation loss after temperature scaling, then the mean validation score.

        On a few hundred images it ranks plans more reliably than accuracies do. A failed training has an infinite loss.
        """
        losses = [record.best.val_scaled_loss if record.best else None for record in self.trainings]
        return float(np.mean([-math.inf if loss is None else -loss for loss in losses])), self.score[0]

    @property
    def error(self) -> float:
        """The fitness that the paper minimises: 1 - the mean validation score."""
        return 1.0 - self.score[0]


class Trainings(Protocol):
    """Trains the tasks of a search."""

    def key(self, task: Task) -> str:
        """Fingerprint of everything that the outcome depends on."""
        ...

    def known(self, task: Task) -> TrainingRecord | None:
        """The stored training of a task; None if it was not trained yet."""
        ...

    def train_all(self, tasks: Iterable[Task]) -> dict[str, TrainingRecord]:
        """Records by key. Tasks with the same key are trained once; a stored training is not repeated.

        A diverged training is a record with an error.
        """
        ...

    def ahead(self, tasks: Iterable[Task]) -> None:
        """Begin what `train_all` is going to be asked for, where that is possible; changes nothing else."""
        ...


def distinct_trainings(candidates: Iterable[Scored]) -> tuple[TrainingRecord, ...]:
    """The trainings of some candidates, each once."""
    return distinct(record for scored in candidates for record in scored.trainings)


def require_trained(winner: Scored) -> None:
    """Raise `NonFiniteLossError` if every training of the best candidate failed."""
    if all(record.error for record in winner.trainings):
        raise NonFiniteLossError(f"every top candidate failed, the last with: {winner.trainings[-1].error}")


def in_generation(history: Sequence[Scored], generation: int) -> tuple[Scored, ...]:
    """The candidates of one generation, by slot."""
    found = (scored for scored in history if scored.candidate.generation == generation)
    return tuple(sorted(found, key=lambda scored: scored.candidate.slot))
