"""Train everything at one rate: what most people do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class Full(Strategy):
    """Full fine-tuning."""

    name: ClassVar[str] = "full"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """Every block at the base rate."""
        rates = {block.name: context.learning_rate for block in context.blocks}
        return FineTunePlan.constant(context.blocks, rates, granularity=context.granularity)
