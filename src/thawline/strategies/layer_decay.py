"""Train everything, each block slower than the one above it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from thawline.plan import FineTunePlan
from thawline.ranges import Range
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class LayerDecay(Strategy):
    """Layer-wise learning rate decay: the block b steps below the head trains at base rate x decay^b."""

    decay: Annotated[float, Range(0.1, 1)] = 0.75
    """Factor from one block to the next below it; 1 is full fine-tuning."""

    name: ClassVar[str] = "layer_decay"
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {"decay": (0.65, 0.75, 0.9)}

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The head at the base rate, every block below it by `decay` slower than the next."""
        rates = {
            block.name: context.learning_rate * self.decay**distance
            for distance, block in enumerate(reversed(context.blocks))
        }
        return FineTunePlan.constant(context.blocks, rates, granularity=context.granularity)
