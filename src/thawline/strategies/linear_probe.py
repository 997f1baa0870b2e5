"""Fit the new head on frozen features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext

Solver = Literal["auto", "lbfgs", "sgd"]


@dataclass(frozen=True)
class LinearProbe(Strategy):
    """The head is fitted, everything else stays as pretrained, norm statistics included."""

    solver: Solver = "auto"
    """How the head is fitted: lbfgs = logistic regression solved exactly on the frozen features, with an L2 penalty
    chosen on validation; sgd = trained like any other block; auto = lbfgs if the head is a single linear layer,
    otherwise sgd."""

    name: ClassVar[str] = "linear_probe"
    unsaid: ClassVar[tuple[str, ...]] = ("solver", *Strategy.unsaid)

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The solved head, or the head at the base rate."""
        if self.solver == "lbfgs" or (self.solver == "auto" and context.head_is_linear):
            return FineTunePlan.constant(context.blocks, {}, granularity=context.granularity, head_start="probe")
        head = context.blocks[-1].name
        return FineTunePlan.constant(context.blocks, {head: context.learning_rate}, granularity=context.granularity)
