"""Thaw from the head down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext
from thawline.strategies.gradual import thaw_in_order


@dataclass(frozen=True)
class GradualLastFirst(Strategy):
    """Gradual unfreezing (ULMFiT, Howard and Ruder 2018; G-LF in the BioTune paper)."""

    name: ClassVar[str] = "gradual_last_first"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The head first, then the block below it, and so on down to the stem."""
        return thaw_in_order(context, [block.name for block in reversed(context.blocks[:-1])])
