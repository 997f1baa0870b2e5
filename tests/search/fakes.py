"""Candidates and trainings that nobody trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from thawline.plan import FineTunePlan
from thawline.records import EpochRecord, TrainingRecord
from thawline.search.candidates import Candidate, Scored, Task

IMAGES = 100


def training(
    scores: Sequence[float], *, work: float = 0.0, right: Sequence[bool] = (), key: str = ""
) -> TrainingRecord:
    """One epoch per score; the best of them was kept."""
    epochs = tuple(EpochRecord(number, 1.0, 1.0, score, score) for number, score in enumerate(scores))
    best = max(range(len(scores)), key=scores.__getitem__)
    bits = np.packbits(np.array(right, bool)).tobytes().hex()
    return TrainingRecord(key or repr(scores), "search", "auto", 1e-3, 0, {}, epochs, best, work=work, right=bits)


def scored(
    slot: int, *scores: float, rung: int = 0, genes: tuple[float, ...] = (0.5,), work: float = 0.0, generation: int = 0
) -> Scored:
    """A candidate with one training."""
    candidate = Candidate(generation, slot, "start", genes, (0.0,) * len(genes), (), None, rung)
    return Scored(candidate, (training(scores, work=work, key=f"{generation}/{slot}"),))


def failed(slot: int) -> Scored:
    """A candidate that diverged."""
    record = TrainingRecord(f"0/{slot}", "search", "auto", 1e-3, 0, {}, error="the loss became nan")
    return Scored(scored(slot, 0.5).candidate, (record,))


class PriceList:
    """Prices by the number of trained blocks; trains nothing."""

    rungs = (1, 2, 4)
    validation_images = IMAGES

    def __init__(self, passing: Mapping[str, float] | None = None) -> None:
        self.passing = passing or {}

    def price(self, plan: FineTunePlan, rung: int) -> float:
        """A quarter of a unit per block and the whole training."""
        return 0.25 * len(plan.trained) * self.rungs[rung] / self.rungs[-1]

    def prefix(self, plan: FineTunePlan) -> tuple[str, float]:
        """By the first trained block."""
        first = next(name for name in plan.blocks if name in plan.trained)
        return first, self.passing.get(first, 0.0)

    def key(self, task: Task) -> str:
        """Never asked."""
        raise NotImplementedError

    def known(self, task: Task) -> TrainingRecord | None:
        """Nothing was trained before."""
        return None

    def train_all(self, tasks: Iterable[Task]) -> dict[str, TrainingRecord]:
        """Never asked."""
        raise NotImplementedError

    def ahead(self, tasks: Iterable[Task]) -> None:
        """Never asked."""
        raise NotImplementedError
