"""Batches of an epoch, and the learning-rate schedule."""

from __future__ import annotations

import math

import numpy as np


def batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Split an epoch into batches of `size`; slightly smaller ones if the last would have less than half of it.

    Batch norms take statistics from a batch, and rounding may depend on its size, so none should be tiny. At size 2, an
    odd number of images gives one batch of three, because some norms need more than one image.
    """
    if size == 2 and len(order) % 2 and len(order) > 1:
        return np.array_split(order, len(order) // 2)
    if 0 < len(order) % size < size / 2:
        return np.array_split(order, math.ceil(len(order) / size))
    return np.split(order, range(size, len(order), size))


def rate_factor(step: int, total: int, warmup_share: float) -> float:
    """Learning-rate factor for all blocks: linear warm-up to 1, then cosine to 0, never 0 for an actual step."""
    warmup = round(total * warmup_share)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
