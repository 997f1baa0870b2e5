"""Train the last k layers and the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.errors import OptionError
from thawline.plan import FineTunePlan, Granularity
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext
from thawline.strategies.last_blocks import train_last


@dataclass(frozen=True)
class LastLayers(Strategy):
    """Freezing levels of the MobileNetV2 study (Turihohabwe 2025), which counts single layers from the top."""

    k: int = 3
    """Convolutions and linear layers below the head that train, each with its norm."""

    name: ClassVar[str] = "last_layers"
    granularity: ClassVar[Granularity | None] = "layer"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise OptionError(f"strategy 'last_layers': k must be at least 1, got {self.k}; use linear_probe for 0.")

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The last k layers and the head at the base rate."""
        return train_last(context, self.name, self.k)
