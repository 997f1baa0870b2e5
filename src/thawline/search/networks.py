"""Which networks go on, and which one is chosen: pure functions of validation scores, prices and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

REACH = 0.05
"""Accuracy that fine-tuning may make up for what a linear probe, or a shorter training, shows of a network."""
PROMOTED = 1 / 2
"""Share of the networks that is trained further."""
AS_ACCURATE = 0.005
"""Difference of accuracies below which two networks are equally good, if their losses are, too."""
AS_LIKELY = 0.02
"""Share of the lower validation loss within which two are equally good."""


@dataclass(frozen=True)
class Standing:
    """How a network does on validation, with all others trained for as long."""

    name: str
    loss: float
    """Validation loss after temperature scaling; infinite if it is not known."""
    accuracy: float
    behind: float
    """Lower end of the 95 % interval of how far its accuracy is behind that of the best, over validation images."""
    flops: int
    """Forward pass of one image: what it costs in use."""


def ranked(standings: Sequence[Standing]) -> list[Standing]:
    """The lowest loss first, then the highest accuracy, then the cheapest to run."""
    return sorted(standings, key=lambda each: (each.loss, -each.accuracy, each.flops))


def within_reach(standings: Sequence[Standing]) -> list[Standing]:
    """Those that may still turn out to be the best, ranked: not clearly behind it by more than `REACH`.

    What was not scored is within reach.
    """
    return [each for each in ranked(standings) if each.behind <= REACH or math.isinf(each.loss)]


def promoted(standings: Sequence[Standing]) -> list[Standing]:
    """The best of them that are within reach, ranked: half of all, rounded up; all if they are two."""
    count = max(2, math.ceil(PROMOTED * len(standings)))
    return within_reach(standings)[:count]


def chosen(standings: Sequence[Standing]) -> Standing:
    """The lowest loss; of networks as good, the cheapest to run."""
    best = ranked(standings)[0]
    equal = [
        each
        for each in standings
        if each.accuracy >= best.accuracy - AS_ACCURATE and each.loss <= (1 + AS_LIKELY) * best.loss
    ]
    return min([best, *equal], key=lambda each: each.flops)
