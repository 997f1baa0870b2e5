"""What the shown model predicts for every image, counted without scikit-learn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

BINS = 15
"""Bins of confidence, as many as the calibration error has (Guo et al. 2017)."""


@dataclass(frozen=True)
class Guess:
    """One image and its predicted class."""

    path: str
    true: int
    predicted: int
    confidence: float
    """Probability of the predicted class, 0 to 1."""

    @property
    def right(self) -> bool:
        """Whether the model got it right."""
        return self.true == self.predicted


@dataclass(frozen=True)
class Bin:
    """Images of similar confidence."""

    low: float
    high: float
    images: int
    confidence: float
    """Mean."""
    accuracy: float


@dataclass(frozen=True)
class ClassSummary:
    """One class by the model that is shown, 0 to 1."""

    name: str
    images: int
    precision: float
    recall: float
    f1: float
    taken_for: str
    """The class that most of its missed images are predicted as; empty if none is missed."""


@dataclass(frozen=True)
class Predictions:
    """The images of one split, by the model of one row and seed."""

    split: str
    classes: tuple[str, ...]
    guesses: tuple[Guess, ...]

    @cached_property
    def cells(self) -> Mapping[tuple[int, int], tuple[Guess, ...]]:
        """(true, predicted) -> its images, the most confident first; empty cells are absent."""
        cells: dict[tuple[int, int], list[Guess]] = defaultdict(list)
        for guess in sorted(self.guesses, key=lambda guess: -guess.confidence):
            cells[guess.true, guess.predicted].append(guess)
        return {cell: tuple(found) for cell, found in cells.items()}

    def mistakes(self, count: int) -> list[Guess]:
        """The wrong ones with the highest confidence."""
        return sorted((guess for guess in self.guesses if not guess.right), key=lambda guess: -guess.confidence)[:count]

    def least_confident(self, count: int) -> list[Guess]:
        """The correct ones with the lowest confidence."""
        return sorted((guess for guess in self.guesses if guess.right), key=lambda guess: guess.confidence)[:count]

    def bins(self) -> list[Bin]:
        """Confidence against accuracy; bins without images are left out."""
        found: dict[int, list[Guess]] = defaultdict(list)
        for guess in self.guesses:
            found[min(int(guess.confidence * BINS), BINS - 1)].append(guess)
        return [
            Bin(
                number / BINS,
                (number + 1) / BINS,
                len(inside),
                sum(guess.confidence for guess in inside) / len(inside),
                sum(guess.right for guess in inside) / len(inside),
            )
            for number, inside in sorted(found.items())
        ]

    def per_class(self) -> list[ClassSummary]:
        """Every class, the hardest first."""
        figures = [self._figures(index) for index in range(len(self.classes))]
        return sorted(figures, key=lambda row: (row.images == 0, row.f1, row.name))

    def _figures(self, index: int) -> ClassSummary:
        hits = self._counts.get((index, index), 0)
        images, given = self._totals[0].get(index, 0), self._totals[1].get(index, 0)
        missed = dict(self._missed.get(index, ()))
        return ClassSummary(
            self.classes[index],
            images,
            hits / given if given else 0.0,
            hits / images if images else 0.0,
            2 * hits / (images + given) if images + given else 0.0,
            self.classes[max(missed, key=lambda label: missed[label])] if missed else "",
        )

    @cached_property
    def _counts(self) -> Mapping[tuple[int, int], int]:
        return {cell: len(found) for cell, found in self.cells.items()}

    @cached_property
    def _totals(self) -> tuple[Mapping[int, int], Mapping[int, int]]:
        """Images by true and by predicted class."""
        true: dict[int, int] = defaultdict(int)
        predicted: dict[int, int] = defaultdict(int)
        for (row, column), count in self._counts.items():
            true[row] += count
            predicted[column] += count
        return true, predicted

    @cached_property
    def _missed(self) -> Mapping[int, Sequence[tuple[int, int]]]:
        missed: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (row, column), count in self._counts.items():
            if row != column:
                missed[row].append((column, count))
        return missed
