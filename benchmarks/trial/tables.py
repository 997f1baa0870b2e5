"""The trial's tables: means over splits, and paired differences with 95 % intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.trial.procedures import ABLATION, PROCEDURES, PUBLISHED
from benchmarks.trial.splits import is_development, planned

Cell = Mapping[str, Any]
REFERENCE = "auto-5x"
TEST_TO_TRAIN = 0.2 / 0.6
"""Sizes of the splits of `resplit`."""


def page(cells: Sequence[Cell]) -> str:
    """All tables as markdown."""
    parts = ["# The trial of `auto`", "", "Written by `python -m benchmarks.trial`; one JSON per cell in trial/.", ""]
    for development in (False, True):
        kind = "development" if development else "published"
        for data in sorted({cell["data"] for cell in cells}):
            some = [cell for cell in cells if cell["data"] == data and is_development(cell["split"]) == development]
            as_planned = [cell for cell in some if cell["split"] in _planned(cell)]
            parts += _section(f"{data}, {kind} splits", as_planned)
            if len(some) > len(as_planned):
                parts += _section(f"{data}, {kind} splits and those added afterwards", some)
    return "\n".join(parts)


def _planned(cell: Cell) -> Sequence[int]:
    return planned(PROCEDURES[cell["procedure"]], cell["data"], is_development(cell["split"]))


def _section(title: str, cells: Sequence[Cell]) -> Iterator[str]:
    """Heading and table; nothing where there are no cells."""
    if cells:
        splits = sorted({cell["split"] for cell in cells})
        commits = ", ".join(sorted({cell["commit"] for cell in cells}))
        yield from (f"## {title}: {splits[0]} to {splits[-1]}, at {commits}", "", *_table(cells), "")


def _table(cells: Sequence[Cell]) -> Iterator[str]:
    by_name: dict[str, dict[int, Cell]] = defaultdict(dict)
    for cell in cells:
        by_name[cell["procedure"]][cell["split"]] = cell
    yield "| procedure | splits | test accuracy | auto-5x less this | work | most work | time in full runs |"
    yield "|---|---|---|---|---|---|---|"
    for name in (*PUBLISHED, *ABLATION):
        if own := by_name.get(name):
            yield _line(name, own, by_name)
    if pairs := _shared(by_name.get("without-cache", {}), by_name.get(REFERENCE, {})):
        yield ""
        yield _without_cache(pairs)


def _shared(some: Mapping[int, Cell], others: Mapping[int, Cell]) -> list[tuple[Cell, Cell]]:
    """Cells of the same split."""
    return [(some[split], others[split]) for split in sorted(set(some) & set(others))]


def _without_cache(pairs: Sequence[tuple[Cell, Cell]]) -> str:
    """Pairs of a search without the prefix cache and the same one with it."""
    same = sum(plain["search"]["digest"] == cached["search"]["digest"] for plain, cached in pairs)
    ratios = [plain["seconds"] / cached["seconds"] for plain, cached in pairs]
    return (
        f"Prefix cache off: the same candidates, scores and winner on {same} of {len(pairs)} splits, "
        f"{np.median(ratios):.2f} times the wall time ({min(ratios):.2f} to {max(ratios):.2f})."
    )


def _line(name: str, own: Mapping[int, Cell], by_name: Mapping[str, Mapping[int, Cell]]) -> str:
    tests = [cell["test"]["mean"] for cell in own.values()]
    works = [cell["work"] for cell in own.values()]
    full = by_name.get("full", {})
    times = [cell["seconds"] / full[split]["seconds"] for split, cell in own.items() if split in full]
    columns = [
        name,
        str(len(own)),
        f"{100 * fmean(tests):.1f}" + (f" ± {100 * _standard_error(tests):.1f}" if len(tests) > 1 else ""),
        _difference(by_name.get(REFERENCE, {}), own) if name != REFERENCE else "",
        f"{fmean(works):.2f}",
        f"{max(works):.2f}",
        f"{np.median(times):.1f}" if times else "",
    ]
    return f"| {' | '.join(columns)} |"


def _difference(reference: Mapping[int, Cell], other: Mapping[int, Cell]) -> str:
    """Mean of the paired differences in points, with its 95 % interval over splits.

    Student's t, once as if the splits were independent samples, once with the variance corrected for what they share
    (Nadeau and Bengio 2003, section 5: 1/n + test share / training share in place of 1/n).
    """
    differences = [100 * (a["test"]["mean"] - b["test"]["mean"]) for a, b in _shared(reference, other)]
    if len(differences) < 2:
        return f"{differences[0]:+.1f}" if differences else ""
    mean, count = fmean(differences), len(differences)
    reach = stats.t.ppf(0.975, count - 1) * _standard_error(differences)
    corrected = reach * np.sqrt(1 + count * TEST_TO_TRAIN)
    shown = (f"{mean - half:+.1f} to {mean + half:+.1f}" for half in (reach, corrected))
    return f"{mean:+.1f} ({'; '.join(shown)})"


def _standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean of two or more values."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
