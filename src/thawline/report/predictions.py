"""What the shown model said of every image: read from predictions.csv, counted without scikit-learn."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_FACTS = 5
"""Columns before the classes: row, seed, split, path, true."""
BINS = 15
"""Of confidence, as many as the calibration error has (Guo et al. 2017)."""


@dataclass(frozen=True)
class Guess:
    """One image and what the model takes it for."""

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
    """Images of about the same confidence."""

    low: float
    high: float
    images: int
    confidence: float
    """Mean."""
    accuracy: float


@dataclass(frozen=True)
class ClassFigures:
    """One class by the model that is shown, 0 to 1."""

    name: str
    images: int
    precision: float
    recall: float
    f1: float
    taken_for: str
    """The class that its missed images are mostly given to; empty if none is missed."""


@dataclass(frozen=True)
class Predictions:
    """Of one row, one seed, one split."""

    split: str
    classes: tuple[str, ...]
    guesses: tuple[Guess, ...]

    @cached_property
    def cells(self) -> Mapping[tuple[int, int], tuple[Guess, ...]]:
        """(true, predicted) -> its images, the most confident first; empty cells are absent."""
        cells: dict[tuple[int, int], list[Guess]] = defaultdict(list)
        for guess in sorted(self.guesses, key=lambda one: -one.confidence):
            cells[guess.true, guess.predicted].append(guess)
        return {cell: tuple(found) for cell, found in cells.items()}

    def mistakes(self, count: int) -> list[Guess]:
        """The wrong ones that the model was surest of."""
        return sorted((one for one in self.guesses if not one.right), key=lambda one: -one.confidence)[:count]

    def doubtful_hits(self, count: int) -> list[Guess]:
        """The right ones that the model was least sure of."""
        return sorted((one for one in self.guesses if one.right), key=lambda one: one.confidence)[:count]

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
                sum(one.confidence for one in inside) / len(inside),
                sum(one.right for one in inside) / len(inside),
            )
            for number, inside in sorted(found.items())
        ]

    def per_class(self) -> list[ClassFigures]:
        """Every class, the hardest first."""
        figures = [self._figures(index) for index in range(len(self.classes))]
        return sorted(figures, key=lambda one: (one.images == 0, one.f1, one.name))

    def _figures(self, index: int) -> ClassFigures:
        hits = self._counts.get((index, index), 0)
        images, given = self._totals[0].get(index, 0), self._totals[1].get(index, 0)
        missed = dict(self._missed.get(index, ()))
        return ClassFigures(
            self.classes[index],
            images,
            hits / given if given else 0.0,
            hits / images if images else 0.0,
            2 * hits / (images + given) if images + given else 0.0,
            self.classes[max(missed, key=lambda one: missed[one])] if missed else "",
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


def read_predictions(path: Path, row: str, seed: int) -> Predictions | None:
    """Those of one row and seed: of the test split, else of the validation split; None if there are none."""
    if not path.is_file():
        return None
    found: dict[str, list[Guess]] = defaultdict(list)
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        lines = csv.reader(stream)
        classes = tuple(next(lines, ())[_FACTS:])
        index = {name: number for number, name in enumerate(classes)}
        for line in lines:
            if line[:2] == [row, str(seed)]:
                found[line[2]].append(_guess(line, index))
    split = next((name for name in ("test", "val") if found[name]), None)
    return None if split is None else Predictions(split, classes, tuple(found[split]))


def _guess(line: Sequence[str], index: Mapping[str, int]) -> Guess:
    probabilities = [float(value) for value in line[_FACTS:]]
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    return Guess(line[3], index[line[4]], best, probabilities[best])
