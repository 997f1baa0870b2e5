"""What selection adds to a validation accuracy: much among candidates that guess, nothing where one is clearly best."""

from __future__ import annotations

import numpy as np
import pytest

from thawline.search.optimism import optimism


def candidates(chances: list[float], images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    right = np.random.default_rng(seed).random((len(chances), images)) < np.array(chances)[:, None]
    return np.where(right, 0.2, 1.8), right


@pytest.mark.parametrize("chance", [0.5, 0.8])
def test_the_luck_of_the_best_of_many_alike_is_taken_off(chance: float) -> None:
    shown, corrected = [], []
    for seed in range(40):
        losses, right = candidates([chance] * 10, 100, seed)
        best = int(losses.mean(axis=1).argmin())
        shown.append(right[best].mean() - chance)
        corrected.append(shown[-1] - optimism(losses, right, best))
    assert np.mean(shown) > 0.05, "the best of ten looks better than it is"
    assert abs(np.mean(corrected)) < 0.015


def test_nothing_is_taken_off_where_selection_has_no_choice() -> None:
    losses, right = candidates([0.95, 0.3], 200, 0)
    assert optimism(losses, right, 0) < 0.005
    assert optimism(losses[:1], right[:1], 0) == 0.0


def test_a_single_image_and_perfect_scores_are_fine() -> None:
    one = np.ones((2, 1), dtype=bool)
    assert optimism(np.zeros((2, 1)), one, 0) == 0.0
    assert optimism(np.zeros((3, 9)), np.ones((3, 9), dtype=bool), 1) == 0.0
