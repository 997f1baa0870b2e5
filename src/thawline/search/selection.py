"""Which of several trained plans is best, given that all were scored on the same validation images.

Standard errors are those of accuracies, whatever metric selects: for another one they are a rule of thumb.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from thawline.search.candidates import Scored

CLOSE = 1.5
"""Standard errors of the paired difference within which the best cannot be told from others."""
ROUNDING = 1e-9
"""Accuracies that differ by one image, and by one standard error, must count as that."""
MOST_CONTENDERS = 4
"""That share what is left of a budget."""


def right(scored: Scored, images: int) -> np.ndarray:
    """[images], share of the seeds that got each validation image right."""
    bits = [np.frombuffer(bytes.fromhex(record.right), np.uint8) for record in scored.trainings if record.right]
    shares: np.ndarray = np.mean([np.unpackbits(one, count=images) for one in bits], axis=0)
    return shares


def standard_error(a: Scored, b: Scored, images: int) -> float:
    """Of the difference of two accuracies on the same images, if there is none: as in McNemar's test.

    What they both get right or wrong does not count.
    """
    difference = right(a, images) - right(b, images)
    return float(np.sqrt((difference**2).mean() / images)) + ROUNDING


def contenders(ranked: Sequence[Scored], images: int) -> list[Scored]:
    """The best and those too close to it, of at most `MOST_CONTENDERS`."""
    found = _best_first(ranked)
    close = [one for one in found[1:] if _behind(found[0], one) <= CLOSE * standard_error(found[0], one, images)]
    return [*found[:1], *close][:MOST_CONTENDERS]


def thriftiest(ranked: Sequence[Scored], price: Callable[[Scored], Any], images: int, *, at_least: float) -> Scored:
    """One-standard-error rule: of plans within one standard error of the best, the one of the lowest price.

    Only plans with as many seeds as the best, and with a score of `at_least`, stand for it: one lucky seed must not.
    """
    best = _best_first(ranked)[0]
    as_good = [
        one
        for one in ranked
        if len(one.trainings) >= len(best.trainings)
        and one.score[0] >= at_least
        and _behind(best, one) <= standard_error(best, one, images)
    ]
    return min([best, *as_good], key=lambda one: (price(one), [-part for part in one.score]))


def _behind(best: Scored, other: Scored) -> float:
    return best.score[0] - other.score[0]


def _best_first(ranked: Sequence[Scored]) -> list[Scored]:
    return sorted(ranked, key=lambda one: one.score, reverse=True)
