"""Train each tensor in proportion to how much its gradient wants to change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext
from thawline.strategies.lp_ft import require_two_epochs

HEAD_SHARE = 4
"""One epoch in so many goes to the head alone, first."""


@dataclass(frozen=True)
class AutoRGN(Strategy):
    """Auto-RGN (surgical fine-tuning, Lee et al. 2023), with the head trained first, so that gradients mean something.

    The optimizer's state is kept from epoch to epoch; norm layers keep their weights, as in the authors' code.
    """

    name: ClassVar[str] = "auto_rgn"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The head alone, then everything at the base rate times each tensor's relative gradient norm."""
        require_two_epochs(context, self.name)
        rate, head = context.learning_rate, context.blocks[-1].name
        everything: dict[str, float | None] = {block.name: rate for block in context.blocks}
        alone = max(1, context.epochs // HEAD_SHARE)
        return FineTunePlan.phased(
            context.blocks,
            [(alone, {head: rate}), (None, everything)],
            granularity=context.granularity,
            rate_rule="relative_gradient",
        )
