"""Train everything, the new head ten times as fast as the pretrained rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class FullTenfoldHead(Strategy):
    """Full fine-tuning with a fast head, the default of the Transfer Learning Library (tllib)."""

    name: ClassVar[str] = "full_10x_head"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """Every block at the base rate, the head at ten times that."""
        rate = context.learning_rate
        rates = {block.name: 10 * rate if block.is_head else rate for block in context.blocks}
        return FineTunePlan.constant(context.blocks, rates, granularity=context.granularity)
