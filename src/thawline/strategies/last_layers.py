"""Train the last k layers and the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from thawline.plan import FineTunePlan, Granularity
from thawline.ranges import Range
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext
from thawline.strategies.last_blocks import train_last


@dataclass(frozen=True)
class LastLayers(Strategy):
    """Freezing levels of the MobileNetV2 study (Turihohabwe 2025), which counts single layers from the top."""

    k: Annotated[int, Range(1, 100_000, "linear_probe trains the head alone")] = 3
    """Convolutions and linear layers below the head that train, each with its norm."""

    name: ClassVar[str] = "last_layers"
    granularity: ClassVar[Granularity | None] = "layer"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The last k layers and the head at the base rate."""
        return train_last(context, self.name, self.k)
