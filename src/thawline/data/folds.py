"""A training split in stratified parts."""

from __future__ import annotations

import numpy as np


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> tuple[np.ndarray, ...]:
    """Positions of every part, sorted; each class is dealt out evenly, in an order drawn from the seed.

    A class with fewer images than there are folds is in every fold all the same, with one image: a network cannot learn
    what it never sees.
    """
    rng = np.random.default_rng([seed, folds])
    orders = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    dealt = [
        [_share(order, (fold + turn) % folds, folds) for turn, order in enumerate(orders)] for fold in range(folds)
    ]
    return tuple(np.sort(np.concatenate(parts)) for parts in dealt)


def _share(order: np.ndarray, fold: int, folds: int) -> np.ndarray:
    return order[fold::folds] if len(order) >= folds else order[[fold % len(order)]]
