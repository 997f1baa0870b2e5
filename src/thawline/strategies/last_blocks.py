"""Train the last k blocks and the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from thawline.errors import PlanError
from thawline.plan import FineTunePlan
from thawline.ranges import Range
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


def train_last(context: StrategyContext, name: str, k: int) -> FineTunePlan:
    """The last k blocks and the head at the base rate; `PlanError` if the model has fewer below the head."""
    below = len(context.blocks) - 1
    if k > below:
        way_out = f"take k from 1 to {below}, or full for all of them" if below else "use linear_probe"
        raise PlanError(
            f"strategy '{name}:k={k}': the model has {below} blocks below the head (a block is a "
            f"{context.granularity}); {way_out}."
        )
    rates = {block.name: context.learning_rate for block in context.blocks[below - k :]}
    return FineTunePlan.constant(context.blocks, rates, granularity=context.granularity)


@dataclass(frozen=True)
class LastBlocks(Strategy):
    """Partial fine-tuning from the top; k = 1 is strategy A of the FER2013 and DeepWeeds study."""

    k: Annotated[int, Range(1, 100_000, "linear_probe trains the head alone")] = 1
    """Blocks below the head that train."""

    name: ClassVar[str] = "last_blocks"
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {"k": (1, 2, 3)}

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The last k blocks and the head at the base rate."""
        return train_last(context, self.name, self.k)
