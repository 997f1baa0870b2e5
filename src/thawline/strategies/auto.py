"""Measure the usual ways and search beyond them, within a budget; the default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan
from thawline.search_config import AutoConfig
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class Auto(AutoConfig, Strategy):
    """The best plan on validation that the budget finds; the arguments are those of the search."""

    name: ClassVar[str] = "auto"
    searches: ClassVar[bool] = True

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The plan that the search ends with; nothing here sees the test split."""
        return context.search(self).plan
