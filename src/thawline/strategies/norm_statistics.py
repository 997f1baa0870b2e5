"""Recompute the statistics of batch norm on new images, without labels: the cheapest adaptation of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class NormStatistics(Strategy):
    """Adaptive batch normalization (Li et al. 2017): one forward pass over the training images, and nothing trains."""

    name: ClassVar[str] = "norm_statistics"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """Everything frozen but the statistics, the head kept."""
        return FineTunePlan.constant(
            context.blocks,
            {},
            granularity=context.granularity,
            norm="eval",
            head_start="kept",
            statistics="recomputed",
        )
