"""Train low-rank updates of linear layers, convolutions and attention, and the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from thawline.plan import Adapter, FineTunePlan
from thawline.ranges import Range
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class LoRA(Strategy):
    """LoRA (Hu et al. 2021) for convolutions, linear layers and nn.MultiheadAttention; norms and biases train, too.

    Other weights stay frozen and are named on screen: depthwise and grouped convolutions, class tokens, position
    embeddings and whatever else a network keeps in bare parameters.
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
