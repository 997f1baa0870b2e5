"""What candidates cost, and which of them a budget still allows."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from thawline.plan import FineTunePlan
from thawline.search.candidates import Address, Candidate, Scored, Trainings
from thawline.search.encoding import Space


class Limit(Protocol):
    """How much of a budget is left, by the measure that the user chose."""

    @property
    def at_once(self) -> int:
        """Candidates that may be begun on one look at what is left."""
        ...

    def left(self, spent: float, seconds: float) -> float:
        """Units of work, when `spent` of them are used up; infinite where work is not counted.

        `seconds` are those of the trainings so far, wherever they were made.
        """
        ...

    def candidates_left(self, tried: int) -> float:
        """Further plans that may be tried."""
        ...


class Journal(Protocol):
    """Pairs of numbers that are only ever added; a list is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[float, float]: ...

    def append(self, entry: tuple[float, float], /) -> None:
        """Kept when this returns."""
        ...


@dataclass(frozen=True)
class WorkLimit:
    """A limit in units of work: the same decisions on every machine."""

    amount: float
    at_once: int = sys.maxsize
    """Prices are known beforehand."""

    def left(self, spent: float, seconds: float) -> float:
        """The units of work that are not spent."""
        return self.amount - spent

    def candidates_left(self, tried: int) -> float:
        """Infinite: only work is limited."""
        return math.inf


@dataclass(frozen=True)
class CandidateLimit:
    """A limit on the number of candidates, whatever they cost."""

    most: int
    at_once: int = sys.maxsize

    def left(self, spent: float, seconds: float) -> float:
        """Infinite: work is not counted."""
        return math.inf

    def candidates_left(self, tried: int) -> float:
        """The number of candidates that were not tried yet."""
        return self.most - tried


@dataclass
class TimeLimit:
    """A wall-clock limit, converted to units of work at the pace measured so far.

    Every answer is journalled before it is used, so that a resumed search makes the same decisions.
    """

    seconds: float
    seconds_per_unit: float
    """Before anything is trained."""
    journal: Journal
    """Units left and seconds elapsed, one entry per question."""
    clock: Callable[[], float] = time.monotonic
    at_once: int = 1
    """The time that a training takes is known only when it has ended."""
    asked: int = 0
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock() - (self.journal[-1][1] if self.journal else 0.0)

    def left(self, spent: float, seconds: float) -> float:
        """Units of work that the remaining time allows at the pace so far.

        Trainings that an interrupted search or another row of the run has made cost what they took then.
        """
        self.asked += 1
        if self.asked <= len(self.journal):
            return self.journal[self.asked - 1][0]
        gone = max(self.clock() - self._began, seconds)
        # The first trainings, mostly cached probes, say little about the pace of a unit.
        pace = (gone + self.seconds_per_unit) / (spent + 1.0)
        units = (self.seconds - gone) / pace
        self.journal.append((units, gone))
        return units

    def candidates_left(self, tried: int) -> float:
        """Infinite: only time is limited."""
        return math.inf


ScoredSoFar = Mapping[Address, Scored]
"""Every candidate with its trainings so far."""


class Priced(Trainings, Protocol):
    """Trainings that say what they will cost."""

    @property
    def rungs(self) -> Sequence[int]:
        """Numbers of epochs after which candidates are promoted; the last is the nominal one."""
        ...

    @property
    def validation_images(self) -> int:
        """Size of the validation split, which sets the standard error of a score."""
        ...

    def price(self, plan: FineTunePlan, rung: int) -> float:
        """Units of work that a training takes up to the end of a rung, at most; without the frozen prefix."""
        ...

    def prefix(self, plan: FineTunePlan) -> tuple[str, float]:
        """The boundary of the plan's frozen prefix, and the work of one pass through it."""
        ...


@dataclass(frozen=True)
class SearchBudget:
    """Decides what a search can still afford, in units of work: the same seed affords the same on every machine."""

    space: Space
    trainings: Priced
    limit: Limit

    def spent(self, scored: ScoredSoFar) -> float:
        """Units of work so far: all trainings, and every frozen prefix once."""
        trained = {record.key: record.work for each in scored.values() for record in each.trainings}
        passes = dict(self.trainings.prefix(self._plan(each.candidate)) for each in scored.values())
        return sum(trained.values()) + sum(passes.values())

    def room(self, scored: ScoredSoFar) -> float:
        """Units of work that are left."""
        return self._left(scored, self.spent(scored))

    def share(self, part: float, scored: ScoredSoFar) -> float:
        """Units of work that a part of the whole budget is; 0 where work is not counted."""
        spent = self.spent(scored)
        return _share(part, spent + self._left(scored, spent))

    def price(self, candidate: Candidate) -> float:
        """Units of work of a whole training of a candidate's plan, without its frozen prefix."""
        return self.trainings.price(self._plan(candidate), len(self.trainings.rungs) - 1)

    def price_to_the_end(self, candidate: Candidate) -> float:
        """Units of work from the candidate's rung to the end of its training."""
        return self.price(candidate) - self.trainings.price(self._plan(candidate), candidate.rung)

    def affordable(
        self, batch: Sequence[Candidate], scored: ScoredSoFar, best: Candidate | None, *, kept: float
    ) -> list[Candidate]:
        """Those of a batch that can be trained up to their rung, in their order.

        What remains must pay for finishing the `best` so far or any of them, and a share `kept` of the whole budget. If
        the budget allows no candidate at all, the cheapest is allowed: a search must end with a plan.
        """
        spent = self.spent(scored)
        left = self._left(scored, spent)
        room = left - _share(kept, spent + left)
        reserve = self.price_to_the_end(best) if best else 0.0
        allowed = self.limit.candidates_left(len(scored))
        passed = {self.trainings.prefix(self._plan(each.candidate))[0] for each in scored.values()}
        taken: list[Candidate] = []
        for candidate in batch:
            price, boundary = self._price(candidate, scored, passed)
            reserve_then, is_new = max(reserve, self.price_to_the_end(candidate)), candidate.address not in scored
            if price + reserve_then <= room and (allowed > 0 or not is_new):
                taken.append(candidate)
                room, reserve, allowed = room - price, reserve_then, allowed - is_new
                passed.add(boundary)
        return taken if taken or scored else sorted(batch, key=self._price_alone)[:1]

    def allows_another_seed(self, candidate: Candidate, scored: ScoredSoFar) -> bool:
        """Whether a whole further training can be paid for."""
        return self.price(candidate) <= self.room(scored)

    def _left(self, scored: ScoredSoFar, spent: float) -> float:
        seconds = {record.key: record.seconds for each in scored.values() for record in each.trainings}
        return self.limit.left(spent, sum(seconds.values()))

    def _price(self, candidate: Candidate, scored: ScoredSoFar, passed: Collection[str]) -> tuple[float, str]:
        """Units of work to train up to the candidate's rung, and the boundary of its frozen prefix."""
        plan = self._plan(candidate)
        boundary, passing = self.trainings.prefix(plan)
        before = scored.get(candidate.address)
        paid = before.trainings[0].work if before else 0.0
        return self.trainings.price(plan, candidate.rung) - paid + (0 if boundary in passed else passing), boundary

    def _price_alone(self, candidate: Candidate) -> float:
        """Units of work of the very first candidate, to the end of its training."""
        return self._price(candidate, {}, ())[0] + self.price_to_the_end(candidate)

    def _plan(self, candidate: Candidate) -> FineTunePlan:
        return self.space.plan(candidate.genes)


def _share(part: float, whole: float) -> float:
    return part * whole if math.isfinite(whole) else 0.0
