"""Full fine-tuning in which weights return exactly to the pretrained ones unless they earn their distance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from thawline.plan import STRENGTH, FineTunePlan, Penalty
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class L1SP(Strategy):
    """L1-SP (Li, Grandvalet and Davoine 2018), as a proximal step apart from the optimizer, so that Adam obeys."""

    strength: Annotated[float, STRENGTH] = 1e-4
    """Factor of the absolute distance to the pretrained weights."""
    head_strength: Annotated[float, STRENGTH] = 0.01
    """Half of it multiplies the squared norm of the head."""

    name: ClassVar[str] = "l1_sp"
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {"strength": (1e-5, 1e-4, 1e-3)}

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """Every block at the base rate, with the penalty."""
        rates = {block.name: context.learning_rate for block in context.blocks}
        penalty = Penalty("l1_sp", self.strength, self.head_strength)
        return FineTunePlan.constant(context.blocks, rates, granularity=context.granularity, penalty=penalty)
