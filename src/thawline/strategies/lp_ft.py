"""Train the head first, then everything from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from thawline.errors import PlanError
from thawline.plan import FineTunePlan
from thawline.ranges import Range
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext

HEAD_RATE = 1e-2
"""Learning rate of the probe phase; tuning picks that of the second phase, which should be lower."""


def require_two_epochs(context: StrategyContext, name: str) -> None:
    """`PlanError` if the head's phase leaves no epoch to everything else."""
    if context.epochs < 2:
        raise PlanError(
            f"strategy {name!r}: trains the head first and then everything, so it needs at least 2 epochs, got "
            f"{context.epochs}; raise `epochs`, or use linear_probe or full."
        )


def probe_then_all(context: StrategyContext, name: str, share: float, **others: Any) -> FineTunePlan:
    """The head alone for `share` of the epochs, then everything at the base rate; `PlanError` if there is only one."""
    require_two_epochs(context, name)
    head = context.blocks[-1].name
    everything: dict[str, float | None] = {block.name: context.learning_rate for block in context.blocks}
    alone = min(max(1, round(share * context.epochs)), context.epochs - 1)
    return FineTunePlan.phased(
        context.blocks, [(alone, {head: HEAD_RATE}), (None, everything)], granularity=context.granularity, **others
    )


@dataclass(frozen=True)
class LPFT(Strategy):
    """Linear probing, then fine-tuning (Kumar et al. 2022), so that a random head does not distort the features."""

    share: Annotated[float, Range(0, 1, above=True, below=True)] = 0.5
    """Share of the epochs in which the head trains alone."""

    name: ClassVar[str] = "lp_ft"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """A probe at 1e-2, then everything at the base rate."""
        return probe_then_all(context, self.name, self.share)
