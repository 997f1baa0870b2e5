"""The confusion matrix, and the images behind its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from markupsafe import Markup

from thawline.report.charts import figure, shorten
from thawline.report.predictions import Predictions
from thawline.report.thumbnails import PER_CELL, chosen

Image: TypeAlias = tuple[str, float, str]
"""Path, confidence, picture as a data URI (empty = there is none)."""
WHOLE = 30
"""Classes, up to which every cell has its number; beyond, a map and the most frequent confusions."""
LISTED = 40
"""Confusions in that list."""
_SHADES = 5


@dataclass(frozen=True)
class Cell:
    """Images of one true class with one predicted class."""

    key: str
    """The key of its images; empty if there are none to show."""
    count: int
    share: float
    """Share of the images of the true class, 0 to 1."""
    true: str
    predicted: str

    @property
    def right(self) -> bool:
        """Whether the cell lies on the diagonal."""
        return self.true == self.predicted


@dataclass(frozen=True)
class Confusion:
    """What the page needs to draw it."""

    classes: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    """The whole matrix; empty beyond `WHOLE` classes."""
    frequent: tuple[Cell, ...]
    """Mistakes, the most frequent first."""
    map: Markup
    """The matrix as a picture; empty up to `WHOLE` classes."""
    images: Mapping[str, Sequence[Image]]
    """Key of a cell -> its images."""


def confusion(predictions: Predictions, pictures: Mapping[str, str]) -> Confusion:
    """The matrix of the shown model, with the pictures that the run folder keeps."""
    images = _images(predictions, pictures)
    classes = predictions.classes
    totals = [0] * len(classes)
    for (true, _), found in predictions.cells.items():
        totals[true] += len(found)

    def cell(true: int, predicted: int) -> Cell:
        count = len(predictions.cells.get((true, predicted), ()))
        key = f"{true}-{predicted}"
        share = count / totals[true] if totals[true] else 0.0
        return Cell(key if key in images else "", count, share, classes[true], classes[predicted])

    every = range(len(classes))
    small = len(classes) <= WHOLE
    mistakes = sorted(
        (cell(*place) for place in predictions.cells if place[0] != place[1]), key=lambda found: -found.count
    )
    return Confusion(
        classes,
        tuple(tuple(cell(true, said) for said in every) for true in every) if small else (),
        tuple(mistakes[:LISTED]),
        Markup("") if small else _map(predictions, totals),
        images,
    )


def _images(predictions: Predictions, pictures: Mapping[str, str]) -> dict[str, list[Image]]:
    """Those of the chosen images that have a picture; all of the chosen ones, where the run has no pictures at all."""
    worth = {guess.path for guess in chosen(predictions) if not pictures or guess.path in pictures}
    cells = {}
    for (true, said), found in predictions.cells.items():
        inside = [guess for guess in found if guess.path in worth][:PER_CELL]
        if inside:
            cells[f"{true}-{said}"] = [
                (guess.path, round(guess.confidence, 3), pictures.get(guess.path, "")) for guess in inside
            ]
    return cells


def _map(predictions: Predictions, totals: list[int]) -> Markup:
    """Every cell as a square, darker where more of a class went."""
    size = len(predictions.classes)
    squares: dict[tuple[bool, int], list[str]] = {}
    for (true, said), found in predictions.cells.items():
        shade = min(int(len(found) / totals[true] * _SHADES), _SHADES - 1)
        squares.setdefault((true == said, shade), []).append(f"M{said} {true}h1v1h-1z")
    paths = [
        Markup('<path class="{}" fill-opacity="{}" d="{}"/>').format(
            "hit" if right else "miss", (shade + 1) / _SHADES, "".join(pieces)
        )
        for (right, shade), pieces in sorted(squares.items())
    ]
    inside = Markup('<svg viewBox="0 0 {0} {0}" width="100%" height="100%">{1}</svg>').format(
        size, Markup("").join(paths)
    )
    most = max(predictions.cells.items(), key=lambda item: (item[0][0] != item[0][1], len(item[1])))[0]
    names = [shorten(predictions.classes[at]) for at in most]
    words = f"{size} by {size} classes, true from top to bottom, predicted from left to right."
    if most[0] != most[1]:
        words += f" The most frequent confusion is {names[0]} predicted as {names[1]}."
    return figure("matrix", "True class (down) against predicted class (across)", words, inside, 420, "map")
