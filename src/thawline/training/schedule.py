"""An epoch's batches, and how the learning rate goes over all of them."""

from __future__ import annotations

import math

import numpy as np


def batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    """An epoch in batches of `size`; all a little smaller where the last one would have less than half of it.

    Norms take their statistics from a batch, and fast kernels round by its size: none should be tiny. Of an odd number
    of images in pairs one batch has three: some norms cannot do with a single image.
    """
    if size == 2 and len(order) % 2 and len(order) > 1:
        return np.array_split(order, len(order) // 2)
    if 0 < len(order) % size < size / 2:
        return np.array_split(order, math.ceil(len(order) / size))
    return np.split(order, range(size, len(order), size))


def rate_factor(step: int, total: int, warmup_share: float) -> float:
    """Linear warm-up to 1, then a cosine to 0: one factor for all blocks, never 0 at a step that is taken."""
    warmup = round(total * warmup_share)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
