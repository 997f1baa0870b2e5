"""Train the plan that the user gave: one of an earlier run, perhaps edited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.errors import PlanError
from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class Given(Strategy):
    """The plan of the option `plan`, or full fine-tuning where only the shape of a plan is asked for."""

    name: ClassVar[str] = "given"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The given plan; raises `PlanError` if there is none, or if it does not fit the network."""
        if context.given_plan is None:
            raise PlanError("strategy 'given' trains the plan that `plan` gives; set it.")
        context.given_plan.check(context.blocks)
        return context.given_plan
