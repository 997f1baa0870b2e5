"""Train norm layers, biases and the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class NormOnly(Strategy):
    """Scales, shifts and biases of every block (BitFit and its kin); kernels and matrices stay as pretrained."""

    name: ClassVar[str] = "norm_only"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """Every block at the base rate, norms and biases only."""
        rates = {block.name: context.learning_rate for block in context.blocks}
        return FineTunePlan.constant(context.blocks, rates, granularity=context.granularity, parts="norms_and_biases")
