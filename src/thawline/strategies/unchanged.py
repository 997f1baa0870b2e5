"""Train nothing: the model that is fitted again, as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class Unchanged(Strategy):
    """The old network with its kept head: what every other strategy has to beat."""

    name: ClassVar[str] = "unchanged"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """Everything frozen, the head kept."""
        return FineTunePlan.constant(
            context.blocks, {}, granularity=context.granularity, norm="eval", head_start="kept"
        )
