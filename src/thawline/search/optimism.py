"""How much of the best candidate's validation accuracy is the luck of having been selected for it."""

from __future__ import annotations

import numpy as np

REPEATS = 500


def optimism(losses: np.ndarray, right: np.ndarray, chosen: int) -> float:
    """Accuracy of the `chosen` candidate on the validation images, less what to expect of it on others; at least 0.

    `losses` [k, n] and `right` [k, n] bool of k candidates on n images. Candidates are selected again, by their mean
    loss, on images that are drawn with replacement, and the selected one is scored on the images that were not drawn:
    bootstrap bias-corrected cross-validation (Tsamardinos, Greasidou, Borboudakis 2018, section 3).
    """
    count, images = losses.shape
    if count < 2:
        return 0.0
    generator = np.random.default_rng(0)
    found: list[float] = []
    for _ in range(REPEATS):
        times = np.bincount(generator.integers(0, images, images), minlength=images)
        left = times == 0
        if left.any():
            found.append(float(right[int((losses @ times).argmin()), left].mean()))
    return max(0.0, float(right[chosen].mean()) - float(np.mean(found))) if found else 0.0
