"""What the tables of a study read off its stored cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Cell = Mapping[str, Any]
Row = Mapping[str, Any]


def by(cells: Sequence[Cell], *names: str) -> dict[str, list[Cell]]:
    """Cells that agree in these settings, by them."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(", ".join(cell["setting"][name] for name in names), []).append(cell)
    return groups


def rows_of(cell: Cell) -> dict[str, Row]:
    """Rows by strategy, those that failed included."""
    return {row["strategy"]: row for row in cell["rows"]}


def title(cell: Cell) -> str:
    """Network and data."""
    return f"{cell['setting']['model']} on {cell['setting']['data']}"


def sizes(cells: Sequence[Cell]) -> list[str]:
    """How small the study was run: a note for every data set."""
    return list(dict.fromkeys(size(cell) for cell in cells))


def size(cell: Cell) -> str:
    """Images, pixels, epochs, seeds."""
    request, images = cell["request"], cell["data"]["images"]
    epochs, seeds, side = request["train"]["epochs"], request["search"]["seeds"], request["images"]["image_size"]
    counts = ", ".join(f"{count:,} {split}" for split, count in images.items())
    pixels = f" at {side} px" if side else ""
    plural = "s" if seeds > 1 else ""
    return f"{cell['setting']['data']}: {counts} images{pixels}; up to {epochs} epochs, {seeds} seed{plural}."


def mean(row: Row, split: str) -> float:
    """Accuracy over seeds, 0 to 1."""
    return float(row[split]["accuracy"]["mean"])


def percent(value: float) -> str:
    """Of a share, with one decimal."""
    return f"{100 * value:.1f}"


def spread(row: Row, split: str) -> str:
    """Accuracy in %: mean, and its standard error where there are several seeds."""
    error = row[split]["accuracy"]["standard_error"]
    return f"{100 * mean(row, split):.2f}" + (f" ± {100 * error:.2f}" if error is not None else "")
