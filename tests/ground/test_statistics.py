from __future__ import annotations

import numpy as np
import pytest

from benchmarks.ground.statistics import OverSets, Ranking, verdict


def test_a_known_difference_has_the_known_interval() -> None:
    """Mean 2, standard deviation 1, three data sets: 2 ± 4.303 / sqrt(3)."""
    found = OverSets([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.interval95 == pytest.approx((2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-4)


def test_one_data_set_has_no_interval() -> None:
    assert OverSets([1.5]).interval95 is None


def test_the_sign_test_leaves_zeros_out() -> None:
    """Five of five: twice 0.5 to the fifth."""
    found = OverSets([1.0, 2.0, 0.5, 0.1, 3.0, 0.0])
    assert (found.higher, found.lower) == (5, 0)
    assert found.sign_p == pytest.approx(2 * 0.5**5)
    assert OverSets([0.0]).sign_p == 1.0


def test_a_win_needs_an_interval_beside_zero() -> None:
    right = np.array([1.0] * 60 + [0.0] * 40)
    worse = np.array([1.0] * 30 + [0.0] * 70)
    close = np.array([1.0] * 59 + [0.0] * 41)
    assert [verdict(right, worse), verdict(worse, right), verdict(right, close), verdict(right, right)] == [1, -1, 0, 0]


def test_equal_accuracies_share_their_rank() -> None:
    ranking = Ranking({"a": [0.9, 0.5], "b": [0.9, 0.6], "c": [0.1, 0.4]})
    assert ranking.ranks == {"b": 1.25, "a": 1.75, "c": 3.0}
    assert list(ranking.ranks) == ["b", "a", "c"]


def test_the_critical_difference_is_that_of_the_published_example() -> None:
    """Demšar 2006, section 3.2.2: four classifiers on 14 data sets, 2.569 * sqrt(4 * 5 / (6 * 14)) = 1.25."""
    accuracies = np.random.default_rng(0).random((4, 14))
    ranking = Ranking({str(number): row.tolist() for number, row in enumerate(accuracies)})
    assert ranking.critical_difference == pytest.approx(1.25, abs=0.005)


def test_bars_join_what_is_within_the_critical_difference() -> None:
    """Ranks 1, 2, 3, 4 on ten data sets: a difference of 1.48 is critical, so only neighbors are joined."""
    steady = Ranking({name: [accuracy] * 10 for name, accuracy in zip("abcd", (0.9, 0.8, 0.7, 0.6), strict=True)})
    assert steady.alike == [("a", "b"), ("b", "c"), ("c", "d")]
    assert steady.friedman_p < 0.001
    few = Ranking({name: own[:2] for name, own in steady.accuracies.items()})
    assert few.alike == [("a", "d")], "a bar within another is left out"


def test_too_few_methods_or_data_sets_are_not_tested() -> None:
    assert not Ranking({}).tests
    assert not Ranking({"a": [0.1, 0.2], "b": [0.1, 0.2]}).tests
    assert not Ranking({"a": [0.1], "b": [0.2], "c": [0.3]}).tests
