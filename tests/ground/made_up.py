"""Cells that nobody trained, to make boards of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from benchmarks.ground.board import Board, Cell, in_order

BLOCKS = ("stem", "blocks.0", "blocks.1", "head")


def cell(method: str, data: str, accuracy: float, images: int = 100, **facts: Any) -> Cell:
    """A cell whose first images are right; val accuracy is test accuracy unless told."""
    right = (np.arange(images) < round(accuracy * images)).astype(np.float64)
    usual: dict[str, Any] = {
        "spec": method,
        "group": "baselines",
        "val_accuracy": accuracy,
        "right": right,
        "work": 7.0,
        "seconds": 60.0,
        "chosen": method,
        "learning_rate": 1e-3,
        "learning_rates": dict.fromkeys(BLOCKS, 1e-3),
        "trainable_share": 1.0,
    }
    return Cell(method=method, data=data, accuracy=accuracy, **(usual | facts))


def board(cells: Iterable[Cell], failures: Mapping[tuple[str, str], str] | None = None, split: int = 200) -> Board:
    """A board of these cells."""
    rows: dict[str, dict[str, Cell]] = {}
    for each in cells:
        rows.setdefault(each.method, {})[each.data] = each
    return Board("tiny", split, {name: rows[name] for name in in_order(rows)}, failures or {}, ["abc1234"])
