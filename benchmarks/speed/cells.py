"""The cells of the table and where each is measured. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One measurement: a process of its own, and one JSON file."""

    module: str
    """Name of a module in this package; its `measure(settings, **arguments)` returns sides, claims and facts."""
    minutes: int
    """Roughly, on one free core."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu", "cuda")


CELLS: Mapping[str, Cell] = {
    "full-mobilenet": Cell("full", 4, {"name": "mobilenetv2_050", "over_plain": 2.0, "repeats": 5}, ("cpu",)),
    "full-resnet50": Cell("full", 17, {"name": "resnet50", "over_plain": 2.5, "repeats": 3}),
    "fit": Cell("whole_fit", 13, {"augment": "none"}),
    "fit-augmented": Cell("whole_fit", 14, {"augment": "mild"}),
    "probe": Cell("cached", 4, {"spec": "linear_probe", "epochs": 20, "in_all": 15.0, "per_epoch": 100.0}),
    "last-block": Cell("cached", 6, {"spec": "last_blocks:k=1", "epochs": 10, "in_all": 3.0}),
    "memory-full": Cell("memory", 5, {"spec": "full"}, ("cpu",)),
    "memory-last-block": Cell("memory", 3, {"spec": "last_blocks:k=1"}, ("cpu",)),
    "growth": Cell("growth", 9),
    "compare": Cell("whole_compare", 20),
}
