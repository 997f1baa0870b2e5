"""One driver asks for candidates, has them trained by an executor, and writes the ledgers; nobody else does.

Tasks are pure data, keyed by all that their outcome depends on: two candidates with one plan are one training, and what
the ledger knows is not trained again. So any executor, and any number of interruptions, gives the same search.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from thawline.records import TrainingRecord
from thawline.search.candidates import Candidate, Scored, Task
from thawline.search.dispatch import Trainings, train_all
from thawline.search.encoding import Encoding, Space
from thawline.search.ranking import rank
from thawline.search.trials import CandidateLedger


class Proposer(Protocol):
    """What makes a search: candidates of a generation from the scored ones before it, and nothing else."""

    @property
    def generations(self) -> int:
        """How many there are."""
        ...

    def propose(self, history: Sequence[Scored], generation: int) -> tuple[Candidate, ...]:
        """The candidates of the next generation, numbered from slot 0."""
        ...


@dataclass(frozen=True)
class Search:
    """All candidates of a search in order, and the plan that won."""

    history: tuple[Scored, ...]
    """Generation by generation."""
    retrained: tuple[Scored, ...]
    """The top candidates with their trainings on the full training split, the best first."""

    @property
    def winner(self) -> Scored:
        """The best on validation of those trained on the full training split."""
        return self.retrained[0]

    @property
    def trainings(self) -> tuple[TrainingRecord, ...]:
        """Every training once."""
        records = (record for scored in (*self.history, *self.retrained) for record in scored.trainings)
        return tuple({record.key: record for record in records}.values())


@dataclass(frozen=True)
class Driver:
    """Runs a search to its end."""

    proposer: Proposer
    space: Space
    trainings: Trainings
    ledger: CandidateLedger
    executor: Executor

    def run(self, seeds: Sequence[int], top: int, fresh_seeds: Sequence[int]) -> Search:
        """Every generation with `seeds`, then the `top` phenotypes on the full training split with `fresh_seeds`."""
        history: tuple[Scored, ...] = ()
        for generation in range(self.proposer.generations):
            history += self._score(self.proposer.propose(history, generation), seeds)
        best = finalists(history, self.space.encoding, top, generation=self.proposer.generations)
        retrained = self._score(best, fresh_seeds)
        return Search(history, tuple(sorted(retrained, key=lambda scored: scored.score, reverse=True)))

    def _score(self, batch: Sequence[Candidate], seeds: Sequence[int]) -> tuple[Scored, ...]:
        self.ledger.ask(batch)
        plans = {candidate: self.space.plan(candidate.genes) for candidate in batch}
        tasks = {candidate: [Task.of(candidate, plan, seed) for seed in seeds] for candidate, plan in plans.items()}
        done = train_all((task for several in tasks.values() for task in several), self.trainings, self.executor)
        scored = tuple(
            Scored(candidate, tuple(done[self.trainings.key(task)] for task in several))
            for candidate, several in tasks.items()
        )
        self.ledger.tell(scored)
        return scored


def finalists(history: Sequence[Scored], encoding: Encoding, top: int, *, generation: int) -> tuple[Candidate, ...]:
    """The top phenotypes of a search as candidates for the full training split."""
    best = [scored.candidate for scored in rank(history, encoding)[:top]]
    return tuple(
        Candidate(generation, slot, "retrained", one.genes, one.momentum, (one.address,), None)
        for slot, one in enumerate(best)
    )
