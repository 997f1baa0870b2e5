from __future__ import annotations

import numpy as np
import pytest

from thawline.training.schedule import batches, rate_factor


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (20, 8, [8, 8, 4]),  # half a batch is a batch
        (17, 8, [6, 6, 5]),  # less is not
        (16, 8, [8, 8]),
        (5, 8, [5]),
        (9, 8, [5, 4]),
        (3, 8, [3]),
        (7, 3, [3, 2, 2]),
        (5, 2, [3, 2]),  # never a single image
        (4, 2, [2, 2]),
        (1, 2, [1]),
    ],
)
def test_every_image_is_seen_once_an_epoch_in_batches_of_about_one_size(
    count: int, size: int, sizes: list[int]
) -> None:
    parts = batches(np.random.default_rng(0).permutation(count), size)
    assert sorted(np.concatenate(parts)) == list(range(count))
    assert [len(part) for part in parts] == sizes


def test_warm_up_rises_and_the_cosine_falls_to_nearly_zero() -> None:
    factors = [rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[-1] < 0.001
