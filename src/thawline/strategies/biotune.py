"""Search for the blocks to train and their rates by evolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan
from thawline.search_config import EvolutionConfig
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class BioTune(EvolutionConfig, Strategy):
    """Evolutionary selective fine-tuning (Colan, Davila and Hasegawa 2025); the arguments are those of the search."""

    name: ClassVar[str] = "biotune"
    searches: ClassVar[bool] = True

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The best on validation of the plans that the search ends with."""
        return context.search(self).plan
