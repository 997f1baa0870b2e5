"""Train a share of the layers, counted from the top."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from thawline.errors import OptionError
from thawline.plan import FineTunePlan, Granularity
from thawline.ranges import Range
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class Depth(Strategy):
    """The axis of the depth study (Philip 2025): a layer is one convolution or linear layer with its norm."""

    share: Annotated[float, Range(0, 100, "percent")] = 25.0
    """Percent of the layers below the head that train, 0 to 100, rounded up to whole layers; the head is extra."""

    name: ClassVar[str] = "depth"
    granularity: ClassVar[Granularity | None] = "layer"

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.share < 1:
            raise OptionError(
                f"strategy 'depth': share is in percent, got {self.share:g}; did you mean {100 * self.share:g}?"
            )

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The topmost layers and the head at the base rate."""
        layers = len(context.blocks) - 1
        count = math.ceil(self.share * layers / 100)
        trained = context.blocks[layers - count :]
        rates = {block.name: context.learning_rate for block in trained}
        return FineTunePlan.constant(context.blocks, rates, granularity=context.granularity)
