"""Train the first k blocks: for inputs that shift while the labels stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from thawline.errors import PlanError
from thawline.plan import FineTunePlan
from thawline.ranges import Range
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class FirstBlocks(Strategy):
    """Surgical fine-tuning from the input (Lee et al. 2023): what helps against blur or noise in a known task.

    The head trains, too, unless it is kept whole.
    """

    k: Annotated[int, Range(1, 100_000)] = 1
    """Blocks from the input that train; 1 = the stem alone."""

    name: ClassVar[str] = "first_blocks"
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {"k": (1, 2, 3)}

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The first k blocks at the base rate, and the head if it is new; `PlanError` if the model has fewer."""
        *below, head = context.blocks
        if self.k > len(below):
            way_out = f"take k from 1 to {len(below)}" if below else "use linear_probe"
            raise PlanError(
                f"strategy 'first_blocks:k={self.k}': the model has {len(below)} blocks below the head (a block is a "
                f"{context.granularity}); {way_out}."
            )
        is_kept = self.head_start == "kept" and context.head_is_known
        trained = below[: self.k] if is_kept else (*below[: self.k], head)
        return FineTunePlan.constant(
            context.blocks,
            {block.name: context.learning_rate for block in trained},
            granularity=context.granularity,
            head_start="kept" if is_kept else "random",
        )
