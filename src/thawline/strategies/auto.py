"""Measure the usual ways and search beyond them, within a budget; the default."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from thawline.errors import OptionError
from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy, parts_rule
from thawline.strategies.context import StrategyContext

SamplerName = Literal["biotune", "tpe", "gp", "cma", "random", "grid"]
Lever = Literal["decoupling", "norms", "starts", "rungs", "race", "thrift"]

_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Budget:
    """How much a search may cost, everything up to the saved model included."""

    amount: float
    """Of `unit`; for minutes already in seconds."""
    unit: Literal["work", "seconds", "candidates"]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`5x` = units of work, `30m` (or 2h, 90s) = wall time, `40candidates`; `OptionError` if it is none of them."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?) *(x|s|m|h|candidates?)", str(text).strip())
        amount = float(found[1]) if found else 0.0
        candidates = found is not None and found[2].startswith("candidate")
        if found is None or amount <= 0 or (found[2] == "x" and amount < 1) or (candidates and amount % 1):
            raise OptionError(
                f"`budget` must be full fine-tunings (5x, at least 1x), a time (30m, 2h) or 40candidates, got {text!r}."
            )
        if found[2] in _SECONDS:
            return cls(amount * _SECONDS[found[2]], "seconds")
        return cls(amount, "work" if found[2] == "x" else "candidates")


@dataclass(frozen=True)
class AutoConfig:
    """The search of `auto`: what it may cost, who proposes, and which of its levers are off (for ablations)."""

    budget: str = "5x"
    """5x = as much work as five full fine-tunings, 30m = wall time, 40candidates."""
    sampler: str = "biotune"
    """Who proposes plans: biotune (its operators), tpe, gp, cma, random, grid."""
    without: str = "none"
    """Levers to leave out, joined by +: decoupling (rates apart from freezing; without it genes know no norms either),
    norms (statistics of norm layers kept), starts (the usual ways as first candidates), rungs (short trainings first),
    race (further seeds for the best), thrift (of plans as good, a usual one, then the cheapest)."""

    def __post_init__(self) -> None:
        Budget.parse(self.budget)
        names = get_args(SamplerName)
        if self.sampler not in names:
            raise OptionError(f"strategy 'auto': sampler must be one of {', '.join(names)}, got {self.sampler!r}.")
        if rule := parts_rule(self.without, get_args(Lever)):
            raise OptionError(f"strategy 'auto': without must be {rule}, got {self.without!r}.")

    def has(self, lever: Lever) -> bool:
        """Whether a lever is in use."""
        return lever not in self.without.split("+")


@dataclass(frozen=True)
class Auto(AutoConfig, Strategy):
    """The best plan on validation that the budget finds; the arguments are those of the search."""

    name: ClassVar[str] = "auto"
    searches: ClassVar[bool] = True

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The plan that the search ends with; nothing here sees the test split."""
        return context.search(self).plan


def with_budget(strategy: str, budget: str | None) -> str:
    """The strategy with its budget as an argument."""
    if budget is None:
        return strategy
    Budget.parse(budget)
    budget = budget.replace(" ", "")
    name, _, arguments = strategy.partition(":")
    if name != "auto":
        raise OptionError(f"`budget` is for `strategy` auto; {name} costs what its trainings cost.")
    if "budget=" in arguments:
        raise OptionError(
            f"the budget is given twice, as `budget` {budget} and in `strategy` {strategy}; leave one out."
        )
    return f"auto:{','.join(filter(None, (arguments, f'budget={budget}')))}"
