"""Full fine-tuning that is pulled back to the pretrained weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from thawline.plan import STRENGTH, FineTunePlan, Penalty
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class L2SP(Strategy):
    """L2-SP (Li, Grandvalet and Davoine 2018): the starting point as reference of weight decay."""

    strength: Annotated[float, STRENGTH] = 0.01
    """Half of it multiplies the squared distance to the pretrained weights."""
    head_strength: Annotated[float, STRENGTH] = 0.01
    """Half of it multiplies the squared norm of the head."""

    name: ClassVar[str] = "l2_sp"
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {"strength": (1e-3, 1e-2, 1e-1)}

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """Every block at the base rate, with the penalty."""
        rates = {block.name: context.learning_rate for block in context.blocks}
        penalty = Penalty("l2_sp", self.strength, self.head_strength)
        return FineTunePlan.constant(context.blocks, rates, granularity=context.granularity, penalty=penalty)
