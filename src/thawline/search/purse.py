"""What candidates cost, and which of them a budget still allows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from thawline.plan import FineTunePlan
from thawline.search.candidates import Address, Candidate, Scored
from thawline.search.dispatch import Trainings
from thawline.search.encoding import Space
from thawline.search.meter import Meter

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
