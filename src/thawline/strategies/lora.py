"""Train low-rank updates of all weights, and the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from thawline.plan import Adapter, FineTunePlan
from thawline.ranges import Range
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class LoRA(Strategy):
    """LoRA (Hu et al. 2021) for convolutions and linear layers of any timm model; norms and biases train as they are.

    Depthwise and grouped convolutions have no adapter and stay frozen.
    """

    rank: Annotated[int, Range(1, 100_000)] = 8
    """Rank of the update of each layer's weight."""
    alpha: Annotated[float, Range(1e-6, 1e6)] = 16.0
    """The update is scaled by alpha / rank."""

    name: ClassVar[str] = "lora"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """Every block at the base rate, through adapters."""
        rates = {block.name: context.learning_rate for block in context.blocks}
        adapter = Adapter(self.rank, self.alpha / self.rank)
        return FineTunePlan.constant(context.blocks, rates, granularity=context.granularity, adapter=adapter)
