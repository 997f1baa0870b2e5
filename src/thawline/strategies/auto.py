"""Measure the usual ways and search beyond them, within a budget; the default."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from thawline.plan import FineTunePlan, StrategyContext
from thawline.search_config import AutoConfig
from thawline.strategies.base import Strategy


@dataclass(frozen=True)
class Auto(AutoConfig, Strategy):
    """The best plan on validation that the budget finds; the arguments are those of the search."""

    name: ClassVar[str] = "auto"
    searches: ClassVar[bool] = True

    @property
    def spec(self) -> str:
        """Name and the arguments that differ from the usual ones."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        own = [f"{field.name}={given[field.name]}" for field in fields(self) if given[field.name] != field.default]
        return f"{self.name}:{','.join(own)}" if own else self.name

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The plan that the search ends with; nothing here sees the test split."""
        return context.search(self).plan
