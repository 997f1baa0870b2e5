"""What pages of several benchmarks share: text between two markers of a file, means with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from thawline.records import write_text


def write_between(path: Path, begin: str, end: str, page: str) -> None:
    """Write `page` between the markers of a file, each a line; `SystemExit` if it has none."""
    before, found, rest = path.read_text(encoding="utf-8").partition(f"{begin}\n")
    _, closed, after = rest.partition(f"{end}\n")
    if not (found and closed):
        raise SystemExit(f"{path} must have the lines {begin!r} and {end!r}.")
    write_text(path, f"{before}{begin}\n\n{page}\n{end}\n{after}")


def half_width(values: Sequence[float]) -> float | None:
    """Half of the 95 % t interval of the mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def percent_interval(values: Sequence[float], expected: int = 0) -> str:
    """`71.2 ± 3.0`: the mean of shares in percent with its 95 % t interval.

    With its number of values where these are not `expected`; empty without any.
    """
    if not values:
        return ""
    half = half_width(values)
    spread = "" if half is None else f" ± {100 * half:.1f}"
    return f"{100 * float(np.mean(values)):.1f}{spread}" + ("" if len(values) == expected else f" (n = {len(values)})")
