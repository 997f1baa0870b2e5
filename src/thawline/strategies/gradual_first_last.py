"""Thaw from the stem up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext
from thawline.strategies.gradual import thaw_in_order


@dataclass(frozen=True)
class GradualFirstLast(Strategy):
    """Gradual unfreezing in the other direction (G-FL in the BioTune paper); the head trains from the start."""

    name: ClassVar[str] = "gradual_first_last"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The head and the stem first, then the block above the stem, and so on."""
        return thaw_in_order(context, [block.name for block in context.blocks[:-1]])
