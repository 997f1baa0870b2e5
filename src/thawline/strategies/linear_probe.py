"""Train the new head on frozen features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class LinearProbe(Strategy):
    """The head trains, everything else stays as pretrained, norm statistics included."""

    name: ClassVar[str] = "linear_probe"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The head at the base rate."""
        head = context.blocks[-1].name
        return FineTunePlan.constant(context.blocks, {head: context.learning_rate}, granularity=context.granularity)
