"""What candidates cost, and which of them a budget still allows."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from thawline.plan import FineTunePlan
from thawline.search.candidates import Address, Candidate, Scored
from thawline.search.dispatch import Trainings
from thawline.search.encoding import Space


class Meter(Protocol):
    """Tells a search what it may still spend."""

    @property
    def at_once(self) -> int:
        """Candidates that may be begun on one look at what is left."""
        ...

    def left(self, spent: float) -> float:
        """Units of work, when `spent` of them are used up; infinite where work is not counted."""
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
class WorkMeter:
    """So many units of work: the same decisions on every machine."""

    amount: float
    at_once: int = sys.maxsize
    """Prices are known beforehand."""

    def left(self, spent: float) -> float:
        """What is not spent."""
        return self.amount - spent

    def candidates_left(self, tried: int) -> float:
        """As many as the work allows."""
        return math.inf


@dataclass(frozen=True)
class CandidateMeter:
    """So many plans, whatever they cost."""

    most: int
    at_once: int = sys.maxsize

    def left(self, spent: float) -> float:
        """Without end."""
        return math.inf

    def candidates_left(self, tried: int) -> float:
        """What is not tried."""
        return self.most - tried


@dataclass
class TimeMeter:
    """So much wall time, told in units of work by how long they took so far.

    What it tells is journalled before anybody acts on it, so that a resumed search decides what this one did.
    """

    seconds: float
    seconds_per_unit: float
    """Before anything is trained."""
    journal: Journal
    """Units left and seconds gone, of every time it was asked."""
    known_seconds: float = 0.0
    """What the trainings of an interrupted search took, as far as they are stored."""
    clock: Callable[[], float] = time.monotonic
    at_once: int = 1
    """What a training takes is known when it has ended."""
    asked: int = 0
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        gone = self.journal[-1][1] if self.journal else 0.0
        self._began = self.clock() - max(gone, self.known_seconds)

    def left(self, spent: float) -> float:
        """What the time allows at the pace so far."""
        self.asked += 1
        if self.asked <= len(self.journal):
            return self.journal[self.asked - 1][0]
        gone = self.clock() - self._began
        # The first trainings, mostly cached probes, say little about the pace of a unit.
        pace = (gone + self.seconds_per_unit) / (spent + 1.0)
        units = (self.seconds - gone) / pace
        self.journal.append((units, gone))
        return units

    def candidates_left(self, tried: int) -> float:
        """As many as the time allows."""
        return math.inf


Standing = Mapping[Address, Scored]
"""Every candidate as far as it went."""


class Priced(Trainings, Protocol):
    """Trainings that say what they will cost."""

    @property
    def rungs(self) -> Sequence[int]:
        """Numbers of epochs after which it is decided who goes on; the last is the nominal one."""
        ...

    @property
    def validation_images(self) -> int:
        """How many there are: what a score's standard error depends on."""
        ...

    def price(self, plan: FineTunePlan, rung: int) -> float:
        """Units of work that a training takes up to the end of a rung, at most; without the frozen prefix."""
        ...

    def prefix(self, plan: FineTunePlan) -> tuple[str, float]:
        """The boundary of the plan's frozen prefix, and the work of one pass through it."""
        ...


@dataclass(frozen=True)
class Purse:
    """Counts in units of work, so that the same seed buys the same on every machine."""

    space: Space
    trainings: Priced
    meter: Meter

    def spent(self, standing: Standing) -> float:
        """Units of work so far: every training as far as it went, every prefix once."""
        trained = {record.key: record.work for scored in standing.values() for record in scored.trainings}
        passes = dict(self.trainings.prefix(self._plan(scored.candidate)) for scored in standing.values())
        return sum(trained.values()) + sum(passes.values())

    def room(self, standing: Standing) -> float:
        """Units of work that are left."""
        return self.meter.left(self.spent(standing))

    def share(self, part: float, standing: Standing) -> float:
        """Units of work that a part of the whole budget is; 0 where work is not counted."""
        spent = self.spent(standing)
        return _share(part, spent + self.meter.left(spent))

    def final_price(self, candidate: Candidate) -> float:
        """Of training the plan to its end with the seed of the saved model; its prefix has been passed."""
        return self.price_to_the_end(candidate, paid=0.0)

    def price_to_the_end(self, candidate: Candidate, paid: float) -> float:
        """What is missing for a whole training."""
        return self.trainings.price(self._plan(candidate), len(self.trainings.rungs) - 1) - paid

    def affordable(
        self, batch: Sequence[Candidate], standing: Standing, best: Candidate | None, *, kept: float
    ) -> list[Candidate]:
        """Those of a batch that can be trained up to their rung, in their order.

        What remains must pay for the final training of the `best` so far or of any of them, and a share `kept` of the
        whole budget. Where nothing could ever be trained the cheapest is allowed: there must be an answer.
        """
        spent = self.spent(standing)
        left = self.meter.left(spent)
        room = left - _share(kept, spent + left)
        reserve = self.final_price(best) if best else 0.0
        allowed = self.meter.candidates_left(len(standing))
        passed = {self.trainings.prefix(self._plan(scored.candidate))[0] for scored in standing.values()}
        taken: list[Candidate] = []
        for candidate in batch:
            price, boundary = self._price(candidate, standing, passed)
            reserve_then, is_new = max(reserve, self.final_price(candidate)), candidate.address not in standing
            if price + reserve_then <= room and (allowed > 0 or not is_new):
                taken.append(candidate)
                room, reserve, allowed = room - price, reserve_then, allowed - is_new
                passed.add(boundary)
        return taken if taken or standing else sorted(batch, key=self._price_alone)[:1]

    def allows_another_seed(self, candidate: Candidate, rivals: Sequence[Candidate], standing: Standing) -> bool:
        """Whether a whole further training can be paid for, and the final one of any rival."""
        final = max(map(self.final_price, rivals))
        return self.final_price(candidate) + final <= self.room(standing)

    def _price(self, candidate: Candidate, standing: Standing, passed: Collection[str]) -> tuple[float, str]:
        """What training up to the candidate's rung adds, and where its prefix ends."""
        plan = self._plan(candidate)
        boundary, passing = self.trainings.prefix(plan)
        before = standing.get(candidate.address)
        paid = before.trainings[0].work if before else 0.0
        return self.trainings.price(plan, candidate.rung) - paid + (0 if boundary in passed else passing), boundary

    def _price_alone(self, candidate: Candidate) -> float:
        """Of the first candidate of all, the final training included."""
        return self._price(candidate, {}, ())[0] + self.final_price(candidate)

    def _plan(self, candidate: Candidate) -> FineTunePlan:
        return self.space.plan(candidate.genes)


def _share(part: float, whole: float) -> float:
    return part * whole if math.isfinite(whole) else 0.0
