"""Fine-tune from a probe, then go only part of the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thawline.plan import FineTunePlan
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext
from thawline.strategies.lp_ft import probe_then_all

SHARES = tuple(step / 10 for step in range(11))


@dataclass(frozen=True)
class WiSEFT(Strategy):
    """WiSE-FT (Wortsman et al. 2022): weights between the probe's and the fine-tuned ones, the best on validation."""

    name: ClassVar[str] = "wise_ft"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """`lp_ft`, then eleven mixtures of its two ends; batch norms get new statistics for each."""
        return probe_then_all(context, self.name, 0.5, interpolation=SHARES)
