"""Statistics whose unit is the data set (Demšar 2006), and of two methods on the images of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from thawline.training.evaluation import bootstrap_interval

LEVEL = 0.05


@dataclass(frozen=True)
class OverSets:
    """Differences of two methods, one for each data set."""

    differences: Sequence[float]

    @property
    def mean(self) -> float:
        """Mean over data sets; nan without any."""
        return float(np.mean(self.differences)) if self.differences else float("nan")

    @cached_property
    def interval95(self) -> tuple[float, float] | None:
        """95 % interval of the mean by Student's t; None with fewer than two data sets."""
        if len(self.differences) < 2:
            return None
        error = np.std(self.differences, ddof=1) / np.sqrt(len(self.differences))
        reach = stats.t.ppf(1 - LEVEL / 2, len(self.differences) - 1) * error
        return self.mean - float(reach), self.mean + float(reach)

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above zero; not without one."""
        return self.interval95 is not None and self.interval95[0] > 0

    @property
    def higher(self) -> int:
        """Data sets with a difference above zero."""
        return sum(difference > 0 for difference in self.differences)

    @property
    def lower(self) -> int:
        """Data sets with a difference below zero."""
        return sum(difference < 0 for difference in self.differences)

    @property
    def sign_p(self) -> float:
        """Two-sided p-value of the sign test; differences of zero are left out."""
        decided = self.higher + self.lower
        return float(stats.binomtest(self.higher, decided).pvalue) if decided else 1.0


def paired_interval(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float]:
    """95 % bootstrap interval, over test images, of `first` minus `second`: which images were right, both [n]."""
    return bootstrap_interval(first - second)


def verdict(first: NDArray[np.float64], second: NDArray[np.float64]) -> int:
    """1 if `first` wins, -1 if it loses, 0 if the paired interval over images contains zero."""
    low, high = paired_interval(first, second)
    return int(low > 0) - int(high < 0)


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of methods that were all scored on the same data sets; rank 1 is best, equal ones share theirs."""

    accuracies: Mapping[str, Sequence[float]]
    """Test accuracies by method; every list has the same data sets in the same order."""

    @cached_property
    def ranks(self) -> dict[str, float]:
        """Mean rank by method, the best first."""
        if not self.accuracies:
            return {}
        means = stats.rankdata(-np.array(list(self.accuracies.values())), axis=0).mean(axis=1)
        return dict(sorted(zip(self.accuracies, map(float, means), strict=True), key=lambda pair: pair[1]))

    @property
    def sets(self) -> int:
        """Number of data sets."""
        return len(next(iter(self.accuracies.values()), ()))

    @property
    def tests(self) -> bool:
        """Whether there are enough methods and data sets for the tests."""
        return len(self.accuracies) >= 3 and self.sets >= 2

    @cached_property
    def friedman_p(self) -> float:
        """p-value of Friedman's test that all methods are alike."""
        return float(stats.friedmanchisquare(*self.accuracies.values()).pvalue)

    @cached_property
    def critical_difference(self) -> float:
        """Difference of mean ranks that Nemenyi's test calls significant (Demšar 2006, section 3.2.2)."""
        count = len(self.accuracies)
        quantile = stats.studentized_range.ppf(1 - LEVEL, count, np.inf) / np.sqrt(2)
        return float(quantile * np.sqrt(count * (count + 1) / (6 * self.sets)))

    @property
    def alike(self) -> list[tuple[str, str]]:
        """First and last method of every longest run of ranks within the critical difference, the best first."""
        ranks = np.array(list(self.ranks.values()))
        last = np.searchsorted(ranks, ranks + self.critical_difference, side="right") - 1
        longest = np.flatnonzero((np.diff(last, prepend=-1) > 0) & (last > np.arange(len(ranks))))
        names = list(self.ranks)
        return [(names[start], names[last[start]]) for start in longest]
