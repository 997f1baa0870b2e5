"""Significance of the difference between two strategies, paired over the test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import permutation_test

from thawline.training.evaluation import bootstrap_interval

PERMUTATIONS = 10_000


@dataclass(frozen=True)
class Comparison:
    """Difference between a row and the reference on the same images."""

    difference: float
    """Accuracy of the row minus that of the reference, -1 to 1."""
    interval95: tuple[float, float]
    """95 % bootstrap interval of the difference, over test images."""
    p: float
    """Two-sided p-value of the permutation test."""


def compare(row: NDArray[np.float64], reference: NDArray[np.float64]) -> Comparison:
    """Paired comparison of per-image correctness (averaged over seeds), both [n]: permutation test and bootstrap."""
    difference = row - reference
    if not difference.any() or len(difference) < 2:
        mean = float(difference.mean())
        return Comparison(mean, (mean, mean), 1.0)
    test = permutation_test(
        (row, reference),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=500,
        rng=np.random.default_rng(0),
    )
    return Comparison(float(difference.mean()), bootstrap_interval(difference), float(test.pvalue))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values after Holm's step-down correction (1979) for multiple comparisons, in the given order."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)
