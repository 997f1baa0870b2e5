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


def spread(values: Sequence[float], median: float | None = None) -> dict[str, Any]:
    """Median (or what takes its place), range and number."""
    middle = statistics.median(values) if median is None else median
    return {"median": middle, "lowest": min(values), "highest": max(values), "n": len(values)}


def figure(values: Sequence[float], unit: str) -> dict[str, Any]:
    """Median, range and all values of one side."""
    return {"unit": unit, **spread(values), "values": list(values)}


def figures(sides: Mapping[str, Sequence[float]], unit: str) -> dict[str, Any]:
    """`figure` of every side."""
    return {name: figure(values, unit) for name, values in sides.items()}


def ratio(upper: Sequence[float], lower: Sequence[float]) -> dict[str, Any]:
    """Ratio of the medians; its range is that of the ratios within each repetition."""
    pairs = [over / under for over, under in zip(upper, lower, strict=True)]
    return spread(pairs, statistics.median(upper) / statistics.median(lower))


def shares(rates: Sequence[float], operations: float, limits: Sequence[float]) -> list[float]:
    """Percent of each limit (GFLOP/s) that a training at each rate (images/s) reaches; `operations` are of an image."""
    return [100 * rate * operations / limit for rate, limit in zip(rates, limits, strict=True)]


def at_least(work: str, against: str, wanted: float, measured: Mapping[str, Any], unit: str = "x") -> dict[str, Any]:
    """A claim that holds if the median is no smaller than `wanted`."""
    return _claim(work, against, "at least", wanted, measured, unit, met=measured["median"] >= wanted)


def at_most(work: str, against: str, wanted: float, measured: Mapping[str, Any], unit: str = "x") -> dict[str, Any]:
    """A claim that holds if the median is no larger than `wanted`."""
    return _claim(work, against, "at most", wanted, measured, unit, met=measured["median"] <= wanted)


def reported(work: str, against: str, measured: Mapping[str, Any], unit: str = "x") -> dict[str, Any]:
    """A figure that nothing was asked of."""
    return _claim(work, against, "", None, measured, unit, met=None)


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
