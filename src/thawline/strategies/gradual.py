"""Thawing block by block: the schedule that both gradual strategies share."""

from __future__ import annotations

from collections.abc import Sequence

from thawline.plan import FineTunePlan, StrategyContext


def thaw_in_order(context: StrategyContext, order: Sequence[str]) -> FineTunePlan:
    """The head from the start, then one more block of `order` after every stage; nothing is frozen again.

    A stage lasts max(1, epochs / (2 x blocks)) epochs, so that at least about half of the training has everything
    thawed; with more blocks than epochs allow, several thaw at a time.
    """
    head = context.blocks[-1].name
    stages = min(len(order), max(1, context.epochs // 2))
    span = max(1, context.epochs // (2 * len(order)))
    phases: list[tuple[int | None, dict[str, float | None]]] = []
    for stage in range(stages + 1):
        thawed = [head, *order[: round(stage * len(order) / stages)]]
        is_last = stage == stages
        phases.append((None if is_last else span, dict.fromkeys(thawed, context.learning_rate)))
    return FineTunePlan.phased(context.blocks, phases, granularity=context.granularity)
