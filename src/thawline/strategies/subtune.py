"""Add the block that helps most, again and again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from thawline.plan import FineTunePlan
from thawline.ranges import Range
from thawline.strategies.base import Strategy
from thawline.strategies.context import StrategyContext


@dataclass(frozen=True)
class SubTune(Strategy):
    """Greedy forward selection of blocks (SubTuning, Kaplun et al. 2023). Costs one training per block and step."""

    most: Annotated[int, Range(1, 100_000)] = 3
    """Maximum number of blocks below the head that are added."""
    gain: Annotated[float, Range(0, 1)] = 0.005
    """Minimum gain in validation score, 0 to 1, for a block to be kept."""
    selecting_rate: Annotated[float, Range(1e-9, 100)] = 1e-3
    """Learning rate of the selection trainings; the rate of the plan is tuned afterwards, with the blocks fixed."""

    name: ClassVar[str] = "subtune"

    def propose(self, context: StrategyContext) -> FineTunePlan:
        """The head and the greedily chosen blocks at the base rate."""
        return _plan(context, self._choose(context), context.learning_rate)

    def _choose(self, context: StrategyContext) -> tuple[str, ...]:
        """Blocks in the order in which they were added; does not depend on the base rate."""
        chosen: tuple[str, ...] = ()
        best = context.score(_plan(context, chosen, self.selecting_rate))
        while len(chosen) < min(self.most, len(context.blocks) - 1):
            rest = [block.name for block in context.blocks[-2::-1] if block.name not in chosen]
            scored = {name: context.score(_plan(context, (*chosen, name), self.selecting_rate)) for name in rest}
            name = max(scored, key=scored.__getitem__)
            if scored[name][0] < best[0] + self.gain:
                break
            chosen, best = (*chosen, name), scored[name]
        return chosen


def _plan(context: StrategyContext, chosen: Iterable[str], rate: float) -> FineTunePlan:
    trained = [context.blocks[-1].name, *chosen]
    rates = dict.fromkeys(trained, rate)
    return FineTunePlan.constant(context.blocks, rates, granularity=context.granularity)
