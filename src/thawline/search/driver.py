"""The driver of an evolutionary search: asks for candidates, has them trained, writes the ledger of candidates.

Tasks are plain data, keyed by everything that their outcome depends on: two candidates with the same plan are trained
once, and a stored training is not repeated. So the order of trainings and interruptions never change the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from thawline.records import TrainingRecord
from thawline.search.candidates import Candidate, Scored, Task, Trainings, distinct_trainings
from thawline.search.encoding import Encoding, Space
from thawline.search.evolution import Evolution
from thawline.search.ranking import rank
from thawline.search.trials import CandidateLedger


@dataclass
class Driver:
    """Runs a search to its end; afterwards it holds all candidates and their scores."""

    evolution: Evolution
    space: Space
    trainings: Trainings
    ledger: CandidateLedger
    history: list[Scored] = field(default_factory=list)
    """All candidates, generation by generation."""
    retrained: list[Scored] = field(default_factory=list)
    """The top candidates with their trainings on the full training split, the best first."""

    @property
    def candidates(self) -> tuple[Scored, ...]:
        """Those of all generations, then the top ones that were trained on the full training split."""
        return (*self.history, *self.retrained)

    @property
    def records(self) -> tuple[TrainingRecord, ...]:
        """Every training once."""
        return distinct_trainings(self.candidates)

    def run(self, seeds: Sequence[int], top: int, fresh_seeds: Sequence[int]) -> Scored:
        """Train every generation with `seeds`, then the `top` phenotypes on the full training split.

        The latter train with `fresh_seeds`; the best of them on validation is the winner.
        """
        for generation in range(self.evolution.generations):
            self.history += self._score(self.evolution.propose(self.history, generation), seeds)
        best = finalists(self.history, self.space.encoding, top, generation=self.evolution.generations)
        self.retrained = sorted(self._score(best, fresh_seeds), key=lambda scored: scored.score, reverse=True)
        return self.retrained[0]

    def _score(self, batch: Sequence[Candidate], seeds: Sequence[int]) -> tuple[Scored, ...]:
        self.ledger.ask(batch)
        plans = {candidate: self.space.plan(candidate.genes) for candidate in batch}
        tasks = {candidate: [Task.of(candidate, plan, seed) for seed in seeds] for candidate, plan in plans.items()}
        done = self.trainings.train_all(task for several in tasks.values() for task in several)
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
        Candidate(generation, slot, "retrained", parent.genes, parent.momentum, (parent.address,), None)
        for slot, parent in enumerate(best)
    )
