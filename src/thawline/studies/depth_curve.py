"""Accuracy against depth: the best share of layers, how sure that is, and where over-fitting begins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thawline.results import DepthCurve
from thawline.training.evaluation import BOOTSTRAP_DRAWS

_CHUNK = 500
"""Draws at a time: bounds the memory for large test splits."""

Array = NDArray[np.float64]


def depth_curve(shares: Array, train: Array, right: Array, train_images: int) -> DepthCurve:
    """Shares [k], train accuracy [k, seeds] of so many images, test images got right [k, seeds, images] (0 or 1).

    Resamples draw test images and seeds, the same ones for all shares, and train images: which of those were right is
    not stored, so their number is drawn from the binomial distribution for each share by itself, which is wider than
    drawing the same ones for all. Over-fitting begins where the gap has grown at a share and at all larger ones; a
    single seed cannot say.
    """
    order = np.argsort(shares)
    shares, train, right = shares[order], train[order], right[order].astype(np.float64)
    test = right.mean(axis=(1, 2))
    best = int(test.argmax())
    accuracies, seen = _resample(train, right)
    gaps = _with_other_images(seen, train_images) - accuracies
    behind = np.quantile(accuracies[:, [best]] - accuracies, 0.025, axis=0)
    wins = np.bincount(accuracies.argmax(axis=1), minlength=len(shares))
    tail = 0.025 / max(len(shares) - 1, 1)  # Bonferroni: the first of many shares must not be one too many
    low, high = np.quantile(gaps - gaps[:, [0]], (tail, 1 - tail), axis=0)
    lasting = np.logical_and.accumulate((low > 1e-9)[::-1])[::-1] & (train.shape[1] > 1)
    grown = shares[lasting]
    return DepthCurve(
        shares=tuple(shares.tolist()),
        train=tuple(train.mean(axis=1).tolist()),
        test=tuple(test.tolist()),
        chance_best=tuple((wins / wins.sum()).tolist()),
        best=float(shares[best]),
        alike=tuple(shares[behind <= 1e-9].tolist()),
        gap_growth=tuple(zip(low.tolist(), high.tolist(), strict=True)),
        over_fitting_from=float(grown[0]) if len(grown) else None,
    )


def _resample(train: Array, right: Array) -> tuple[Array, Array]:
    """Test and train accuracy in every resample of test images and seeds, both [draws, k]."""
    shares, seeds, images = right.shape
    generator = np.random.default_rng(0)
    flat = right.reshape(shares * seeds, images).T
    accuracies, seen = [], []
    for _ in range(BOOTSTRAP_DRAWS // _CHUNK):
        times = generator.multinomial(images, np.full(images, 1 / images), size=_CHUNK)
        weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=_CHUNK) / seeds
        per_seed = (times @ flat / images).reshape(_CHUNK, shares, seeds)
        # Rounded, so that shares with equally many right images tie exactly.
        test = np.einsum("dks,ds->dk", per_seed, weights).round(12)
        accuracies.append(test)
        seen.append(weights @ train.T)
    return np.concatenate(accuracies), np.concatenate(seen)


def _with_other_images(accuracy: Array, images: int) -> Array:
    """The accuracies [draws, k] on as many other images of the same kind."""
    share = accuracy.clip(0, 1)  # a mean of ones may be above one by rounding
    return np.asarray(np.random.default_rng(1).binomial(images, share) / images)
