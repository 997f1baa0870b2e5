"""Measure the usual ways on validation and keep the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan, StrategyContext
from thawline.strategies.base import Strategy


@dataclass(frozen=True)
class Auto(Strategy):
    """The best on validation of the fixed strategies, each with its rate and arguments tuned."""

    name: ClassVar[str] = "auto"
    # In the order of what they train, so that a tie goes to the one that trains less.
    compares: ClassVar[tuple[str, ...]] = ("linear_probe", "last_blocks", "full")

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The plan with the highest validation score; nothing here sees the test split."""
        tuned = [context.tune(candidate) for candidate in self.compares]
        return max(tuned, key=lambda candidate: candidate.score[0]).plan
