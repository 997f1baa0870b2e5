"""Train low-rank updates of all weights, and the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.errors import OptionError
from thawline.plan import Adapter, FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class LoRA(Strategy):
    """LoRA (Hu et al. 2021) for convolutions and linear layers of any timm model; norms and biases train as they are.

    Depthwise and grouped convolutions have no adapter and stay frozen.
    """

    rank: int = 8
    """Rank of the update of each layer's weight."""
    alpha: float = 16.0
    """The update is scaled by alpha / rank."""

    name: ClassVar[str] = "lora"

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise OptionError(f"strategy 'lora': rank must be at least 1 and alpha above 0, got {self.spec}.")

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """Every block at the base rate, through adapters."""
        rates = {block.name: context.learning_rate for block in context.blocks}
        adapter = Adapter(self.rank, self.alpha / self.rank)
        return FineTunePlan.constant(context.blocks, rates, granularity=context.granularity, adapter=adapter)
