"""A search on one experiment: its folds, its seeds, and how its candidates are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from thawline.data.splits import stratified_folds
from thawline.errors import NonFiniteLossError
from thawline.plan import Block, FineTunePlan, Granularity
from thawline.records import TrainingRecord, environment, fingerprint
from thawline.runs.experiment import Experiment, Part
from thawline.search.candidates import Scored, Task
from thawline.search.driver import Driver, Search
from thawline.search.encoding import Space
from thawline.search.evolution import Evolution, make_encoding
from thawline.search.findings import findings
from thawline.search.trials import CandidateLedger
from thawline.strategies.biotune import EvolutionConfig
from thawline.training.executors import InlineExecutor
from thawline.training.images import LabelledRows

FRESH_SEED_OFFSET = 2_000_000
"""The top candidates are compared with seeds that neither the search nor the final figures use."""


@dataclass(frozen=True)
class Found:
    """What a search ends with."""

    plan: FineTunePlan
    score: tuple[float, float]
    """Of the full training split: mean validation score over seeds, then negative loss."""
    records: tuple[TrainingRecord, ...]
    summary: Mapping[str, Any] | None
    """For the report."""
    strategy: str
    """The search, or the strategy of the table that makes this plan too."""
    ways: Mapping[str, Found] = field(default_factory=dict)
    """The best of each fixed strategy that the search holds, by name."""


@dataclass(frozen=True)
class CandidateTrainings:
    """Trains tasks on an experiment; implements `search.driver.Trainings`."""

    experiment: Experiment
    parts: Sequence[Part | None]
    """By fold; None = the whole training split."""
    strategy: str
    learning_rate: float

    def key(self, task: Task) -> str:
        """Of the plan, the seed, the images."""
        return self.experiment.key(task.plan, task.seed, self._part(task))

    def find(self, task: Task) -> TrainingRecord | None:
        """From the run's ledger."""
        return self.experiment.find(self._record(task))

    def train(self, task: Task) -> TrainingRecord:
        """On the experiment's resident network."""
        return self.experiment.run(self._record(task), self._part(task))

    def keep(self, record: TrainingRecord) -> None:
        """In the run's ledger."""
        self.experiment.keep(record)

    def _part(self, task: Task) -> Part | None:
        return None if task.fold is None else self.parts[task.fold]

    def _record(self, task: Task) -> TrainingRecord:
        return TrainingRecord(
            self.key(task),
            "search",
            self.strategy,
            self.learning_rate,
            task.seed,
            task.plan.to_dict(),
            generation=task.generation,
            slot=task.slot,
            fold=None if self._part(task) is None else task.fold,
        )


def search(
    experiment: Experiment,
    settings: EvolutionConfig,
    blocks: tuple[Block, ...],
    granularity: Granularity,
    base_rate: float,
    spec: str,
    *,
    executor: Executor | None = None,
) -> Found:
    """Run a whole evolutionary search, or the rest of an interrupted one.

    Candidates train on folds of the training split and are scored on the whole validation split. Raises
    `NonFiniteLossError` if even the winner diverged.
    """
    space = Space(make_encoding(settings, len(blocks)), blocks, granularity, base_rate)
    evolution = Evolution(settings, space.encoding, experiment.request.images.seed)
    trainings = CandidateTrainings(experiment, training_parts(experiment, settings.folds), spec, base_rate)
    ledger = CandidateLedger(experiment.ledger.storage, f"thawline-search:{spec}", space, facts_of(experiment))
    driver = Driver(evolution, space, trainings, ledger, executor or InlineExecutor())
    fresh = experiment.request.images.seed + FRESH_SEED_OFFSET
    found = driver.run(
        range(experiment.tuning_seed, experiment.tuning_seed + settings.seeds),
        settings.top,
        range(fresh, fresh + settings.seeds),
    )
    return _found(found, space, evolution, spec)


def training_parts(experiment: Experiment, folds: int) -> tuple[Part | None, ...]:
    """The training split in stratified folds; one fold is all of it.

    Groups need no care here: nothing is scored on the other folds.
    """
    if folds == 1:
        return (None,)
    train = experiment.data.train
    positions = stratified_folds(train.labels.numpy(), folds, experiment.request.images.seed)
    pieces = [LabelledRows(train.rows[one], train.labels[one]) for one in positions]
    return tuple(Part(piece, fingerprint(piece.rows.tolist())) for piece in pieces)


def _found(found: Search, space: Space, evolution: Evolution, spec: str) -> Found:
    winner = found.winner
    require_trained(winner)
    plan = space.plan(winner.candidate.genes)
    return Found(plan, winner.score, found.trainings, findings(found, space, evolution), spec)


def require_trained(winner: Scored) -> None:
    """Raise `NonFiniteLossError` if every training of the best candidate failed."""
    if all(record.error for record in winner.trainings):
        raise NonFiniteLossError(f"every top candidate failed, the last with: {winner.trainings[-1].error}")


def facts_of(experiment: Experiment) -> dict[str, Any]:
    """What every candidate of the ledger carries: versions, and which data it was."""
    train = experiment.request.train
    packages = environment(device=train.device, threads=train.threads)["packages"]
    return {"packages": packages, "data_fingerprint": experiment.data_fingerprint}
