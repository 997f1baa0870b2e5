"""Operators of the memetic evolution (Starke et al. 2018), as pure functions of genes and a generator.

Genes are arrays [n] from 0 to 1. Every gene gets fresh uniform draws. What limits a step is the extinction factor: 0
for the best of the population, 1 for the worst.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray

OUTLIER_FENCE = 1.5
"""Errors this many interquartile ranges above the third quartile are outliers (Tukey)."""


def extinction(errors: Sequence[float], baseline: float | None = None) -> Array:
    """Extinction factors [N] of a population that is sorted from the lowest error up.

    (error_i + lowest * (i / (N - 1) - 1)) / highest. One diverged candidate would make the highest error so large that
    everybody else's factor, and with it mutation, dies. So the highest is at most `baseline`, the error of a linear
    probe, or, where that is not known or below the median, the highest that is not an outlier. Where all errors are 0
    only the rank counts.
    """
    found = np.asarray(errors, dtype=float)
    if len(found) == 1:
        return np.zeros(1)
    ranks = np.arange(len(found)) / (len(found) - 1)
    # A probe that beats most of them does not say what is bad: dividing by it would make every child pure noise.
    tells = baseline is not None and baseline >= np.median(found)
    highest = min(float(found[-1]), baseline if tells and baseline is not None else _highest_inlier(found))
    if highest <= 0:
        return ranks
    factors: Array = np.clip((found + found[0] * (ranks - 1)) / highest, 0.0, 1.0)
    return factors


def _highest_inlier(errors: Array) -> float:
    low, high = np.quantile(errors, (0.25, 0.75))
    return float(errors[errors <= high + OUTLIER_FENCE * (high - low)].max())


def rank_weights(size: int) -> Array:
    """Chances of being chosen, by rank, the best first: size, size - 1, ..., 1 over their sum."""
    weights = np.arange(size, 0, -1, dtype=float)
    chances: Array = weights / weights.sum()
    return chances


def select(size: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """Ranks of two parents, distinct where there are two, and of a prototype."""
    chances = rank_weights(size)
    parents = rng.choice(size, size=2, replace=size < 2, p=chances)
    return int(parents[0]), int(parents[1]), int(rng.choice(size, p=chances))


def crossover(a: Array, b: Array, rng: np.random.Generator) -> Array:
    """Each gene somewhere between the parents'."""
    share = rng.random(len(a))
    child: Array = share * a + (1 - share) * b
    return child


def inherited_momentum(a: Array, b: Array, rng: np.random.Generator) -> Array:
    """Random parts of both parents' gradient memories."""
    momentum: Array = rng.random(len(a)) * a + rng.random(len(b)) * b
    return momentum


def mutation_rate(factor: float, size: int) -> float:
    """Chance of a gene to mutate: one gene on average at least, all of them where the extinction factor is 1."""
    return factor * (1 - 1 / size) + 1 / size


def mutate(genes: Array, factor: float, rng: np.random.Generator) -> Array:
    """Some genes move by up to the extinction factor in either direction; not clipped."""
    moves = rng.random(len(genes)) < mutation_rate(factor, len(genes))
    steps = (2 * rng.random(len(genes)) - 1) * factor
    mutated: Array = genes + np.where(moves, steps, 0.0)
    return mutated


def adopt(genes: Array, a: Array, b: Array, prototype: Array, rng: np.random.Generator) -> Array:
    """Each gene goes part of the way to a mixture of its parents' mean and a prototype; not clipped."""
    to_parents = rng.random(len(genes)) * ((a + b) / 2 - genes)
    to_prototype = rng.random(len(genes)) * (prototype - genes)
    share = rng.random(len(genes))
    adopted: Array = genes + (1 - share) * to_parents + share * to_prototype
    return adopted


def probes(genes: Array, positions: Sequence[int], reach: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Exploitation: two neighbors that differ in one of the `positions`, by up to `reach` up and down, clipped."""
    position = positions[int(rng.integers(len(positions)))]
    step = np.zeros(len(genes))
    step[position] = reach * (2 * rng.random() - 1)
    return clip(genes + step), clip(genes - step)


def clip(genes: Array) -> Array:
    """Back into 0 to 1."""
    clipped: Array = np.clip(genes, 0.0, 1.0)
    return clipped
