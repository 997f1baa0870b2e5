"""Search for the blocks to train and their rates by evolution."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from thawline.plan import FineTunePlan, StrategyContext
from thawline.search_config import EvolutionConfig
from thawline.strategies.base import Strategy


@dataclass(frozen=True)
class BioTune(EvolutionConfig, Strategy):
    """Evolutionary selective fine-tuning (Colan, Davila and Hasegawa 2025); the arguments are those of the search."""

    name: ClassVar[str] = "biotune"
    searches: ClassVar[bool] = True

    @property
    def spec(self) -> str:
        """Name and the arguments that differ from the paper's."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        own = [f"{field.name}={given[field.name]}" for field in fields(self) if given[field.name] != field.default]
        return f"{self.name}:{','.join(own)}" if own else self.name

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The best on validation of the plans that the search ends with."""
        return context.search(self).plan
