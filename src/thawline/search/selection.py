"""Selects among trained plans that were scored on the same validation images.

Standard errors are those of accuracies, whatever metric selects: for another one they are a rule of thumb.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from thawline.records import unpack_bits
from thawline.search.candidates import Scored

CLOSE = 1.5
"""Standard errors of the paired difference within which plans cannot be told apart."""
ROUNDING = 1e-9
"""Added to standard errors: a difference of one image that is exactly one standard error must be within it."""
MOST_CONTENDERS = 4
"""Candidates that get extra seeds at most."""


def right(scored: Scored, images: int) -> np.ndarray:
    """[images], share of the seeds that classified each validation image correctly."""
    seeds = [unpack_bits(record.right, images) for record in scored.trainings if record.right]
    shares: np.ndarray = np.mean(seeds, axis=0)
    return shares


def standard_error(a: Scored, b: Scored, images: int) -> float:
    """Standard error of the difference of two accuracies on the same images, were it 0: as in McNemar's test.

    Images that both classify correctly, or both wrongly, do not count.
    """
    difference = right(a, images) - right(b, images)
    return float(np.sqrt((difference**2).mean() / images)) + ROUNDING


def contenders(ranked: Sequence[Scored], images: int) -> list[Scored]:
    """The best and those that cannot be told apart from it, at most `MOST_CONTENDERS`."""
    found = _best_first(ranked)
    close = [
        rival for rival in found[1:] if _behind(found[0], rival) <= CLOSE * standard_error(found[0], rival, images)
    ]
    return [*found[:1], *close][:MOST_CONTENDERS]


def most_parsimonious(
    ranked: Sequence[Scored],
    complexity: Callable[[Scored], tuple[bool, float]],
    images: int,
    *,
    at_least: float,
    is_exact: Callable[[Scored], bool] = lambda scored: False,
) -> Scored:
    """One-standard-error rule: among plans within one standard error of the best, the one of lowest complexity.

    Only plans with as many seeds as the best, and with a score of `at_least`, can replace it: one lucky seed cannot.
    Those that are exact need no further seeds.
    """
    best = _best_first(ranked)[0]
    as_good = [
        scored
        for scored in ranked
        if (is_exact(scored) or len(scored.trainings) >= len(best.trainings))
        and scored.score[0] >= at_least
        and _behind(best, scored) <= standard_error(best, scored, images)
    ]
    return min([best, *as_good], key=lambda scored: (complexity(scored), [-part for part in scored.merit]))


def _behind(best: Scored, other: Scored) -> float:
    return best.score[0] - other.score[0]


def _best_first(ranked: Sequence[Scored]) -> list[Scored]:
    return sorted(ranked, key=lambda scored: scored.merit, reverse=True)
