"""Sides measured in turn, their figures and the ratios between them. Standard library only."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def interleaved(sides: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Measure every side once, then every side again: what else the machine does then meets them alike."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name, measure in sides.items():
            values[name].append(measure())
            print(f"  {repeat + 1}/{repeats} {name}: {values[name][-1]:.4g}", flush=True)
    return values


def figure(values: Sequence[float], unit: str) -> dict[str, Any]:
    """Median, range and all values of one side."""
    return {"unit": unit, **_spread(statistics.median(values), values), "values": list(values)}


def figures(sides: Mapping[str, Sequence[float]], unit: str) -> dict[str, Any]:
    """`figure` of every side."""
    return {name: figure(values, unit) for name, values in sides.items()}


def ratio(upper: Sequence[float], lower: Sequence[float]) -> dict[str, Any]:
    """Ratio of the medians; its range is that of the ratios within each repetition."""
    pairs = [over / under for over, under in zip(upper, lower, strict=True)]
    return _spread(statistics.median(upper) / statistics.median(lower), pairs)


def at_least(work: str, against: str, wanted: float, measured: Mapping[str, Any], unit: str = "x") -> dict[str, Any]:
    """A claim that holds if the median is no smaller than `wanted`."""
    return _claim(work, against, "at least", wanted, measured, unit, met=measured["median"] >= wanted)


def at_most(work: str, against: str, wanted: float, measured: Mapping[str, Any], unit: str = "x") -> dict[str, Any]:
    """A claim that holds if the median is no larger than `wanted`."""
    return _claim(work, against, "at most", wanted, measured, unit, met=measured["median"] <= wanted)


def reported(work: str, against: str, measured: Mapping[str, Any], unit: str = "x") -> dict[str, Any]:
    """A figure that nothing was asked of."""
    return _claim(work, against, "", None, measured, unit, met=None)


def _spread(median: float, values: Sequence[float]) -> dict[str, Any]:
    return {"median": median, "lowest": min(values), "highest": max(values), "n": len(values)}


def _claim(
    work: str,
    against: str,
    rule: str,
    wanted: float | None,
    measured: Mapping[str, Any],
    unit: str,
    *,
    met: bool | None,
) -> dict[str, Any]:
    kept = {name: measured[name] for name in ("median", "lowest", "highest", "n")}
    return {"work": work, "against": against, "rule": rule, "wanted": wanted, "unit": unit, **kept, "met": met}
