"""Thawing block by block: the schedule that both gradual strategies share."""

from __future__ import annotations

from collections.abc import Sequence

from thawline.plan import FineTunePlan
from thawline.strategies.context import StrategyContext


def thaw_in_order(context: StrategyContext, order: Sequence[str]) -> FineTunePlan:
    """The head from the start, then one more block of `order` after every stage; nothing is frozen again.

    A stage lasts epochs / (2 x stages) epochs, so that at least half of the training has everything thawed; with more
    blocks than epochs allow, several thaw at a time, and a single epoch has no stages.
    """
    head = context.blocks[-1].name
    stages = min(len(order), context.epochs // 2)
    phases: list[tuple[int | None, dict[str, float | None]]] = []
    for stage in range(stages):
        thawed = [head, *order[: round(stage * len(order) / stages)]]
        phases.append((context.epochs // (2 * stages), dict.fromkeys(thawed, context.learning_rate)))
    phases.append((None, dict.fromkeys([head, *order], context.learning_rate)))
    return FineTunePlan.phased(context.blocks, phases, granularity=context.granularity)
