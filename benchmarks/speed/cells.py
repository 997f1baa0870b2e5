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
    "full-mobilenet": Cell("full", 6, {"name": "mobilenetv2_050", "over_plain": 2.0, "over_defaults": 2.0}, ("cpu",)),
    "full-resnet50": Cell(
        "full",
        25,
        {"name": "resnet50", "over_plain": 2.5, "over_defaults": 2.0, "over_trainer": 1.3, "of_matrix": 25.0},
    ),
    "fit": Cell("whole_fit", 13, {"augment": "none"}),
    "fit-augmented": Cell("whole_fit", 14, {"augment": "mild"}),
    "prefix": Cell(
        "passes",
        4,
        {
            "function": "prefix",
            "works": {
                f"one pass through half of {name}": {"name": name}
                for name in ("efficientnet_lite0", "mobilenetv2_050", "resnet50")
            },
        },
        ("cpu",),
    ),
    "predict": Cell(
        "passes",
        6,
        {
            "function": "predict",
            "works": {
                f"predict --csv, mobilenetv2_050 on {data}, {size} px": {"data": data, "image_size": size}
                for data, size in (("eurosat", 64), ("dtd10", 224))
            },
        },
        ("cpu",),
    ),
    "probe": Cell("cached", 4, {"spec": "linear_probe", "epochs": 20, "in_all": 15.0, "per_epoch": 100.0}),
    "last-block": Cell("cached", 6, {"spec": "last_blocks:k=1", "epochs": 10, "in_all": 3.0}),
    "auto": Cell("whole_auto", 45, {}, ("cpu",)),
    "memory-full": Cell("memory", 8, {"spec": "full", "over_floor": 1.3}, ("cpu",)),
    "memory-last-block": Cell("memory", 5, {"spec": "last_blocks:k=1", "over_floor": 1.5}, ("cpu",)),
    "growth": Cell("growth", 9),
    "compare": Cell("whole_compare", 20),
    "accuracy": Cell("accuracy", 60, {}, ("cpu",)),
}
