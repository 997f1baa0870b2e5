"""Stratified parts of a training split."""

from __future__ import annotations

import numpy as np
import pytest

from thawline.data.splits import stratified_folds


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_folds_partition_the_images_and_keep_the_classes(folds: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [20, 31, 47]))
    parts = stratified_folds(labels, folds, seed=0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(98))
    for part in parts:
        for label, count in ((0, 20), (1, 31), (2, 47)):
            assert abs((labels[part] == label).sum() - count / folds) < 1
    assert max(map(len, parts)) - min(map(len, parts)) <= 3


def test_a_class_smaller_than_the_folds_is_in_all_of_them() -> None:
    labels = np.array([0] * 10 + [1] * 3)
    for part in stratified_folds(labels, 5, seed=0):
        assert set(labels[part]) == {0, 1}


def test_folds_follow_from_the_seed() -> None:
    labels = np.repeat([0, 1], 20)
    first, again, other = (stratified_folds(labels, 2, seed)[0].tolist() for seed in (0, 0, 1))
    assert first == again != other
