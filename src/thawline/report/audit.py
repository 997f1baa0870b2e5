"""The data audit of check.json as short lists: what to look at first, and which files it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LISTED = 10
"""Groups of files of each kind."""
NAMED = 6
"""Files of one group."""


@dataclass(frozen=True)
class Finding:
    """One kind of trouble."""

    title: str
    count: int
    groups: tuple[tuple[str, ...], ...]
    """Files that belong together; the first `LISTED` groups."""


@dataclass(frozen=True)
class Audit:
    """What the page shows."""

    facts: Mapping[str, str]
    warnings: Sequence[str]
    findings: tuple[Finding, ...]


def audit(found: Mapping[str, Any], images: Mapping[str, int], notes: Sequence[str]) -> Audit:
    """From check.json, the images per split of the run, and the notes on the splits."""
    counts = list(found["classes"].values())
    facts = {
        "images": f"{found['images']:,}",
        "used": ", ".join(f"{count:,} {split}" for split, count in images.items()),
        "classes": f"{len(counts):,}, with {_span(counts)} images",
        "formats": _counted(found["formats"]),
        "modes": _counted(found["modes"]),
        "sizes": _sizes(found["sizes"]),
        **({"decoded with care": _counted(found["oddities"])} if found["oddities"] else {}),
    }
    return Audit(facts, [*found["warnings"], *notes], tuple(one for one in _findings(found) if one.count))


def _findings(found: Mapping[str, Any]) -> list[Finding]:
    copies, alike = found["duplicates"], found["lookalikes"]
    return [
        _finding("Unreadable", [{"paths": [f"{one['path']}: {one['reason']}"]} for one in found["unreadable"]]),
        _finding("One image under two or more labels", [one for one in copies if len(one["labels"]) > 1]),
        _finding("Exact copies in two splits", [one for one in copies if len(one["splits"]) > 1]),
        _finding("Nearly the same picture in two splits", [one for one in alike if len(one["splits"]) > 1]),
        _finding("Groups with images in two splits", [{"paths": [one]} for one in found["leaking_groups"]]),
        _finding("The same file twice", [one for one in copies if len(one["labels"]) == 1 >= len(one["splits"])]),
    ]


def _finding(title: str, groups: Sequence[Mapping[str, Any]]) -> Finding:
    return Finding(title, len(groups), tuple(_named(one["paths"]) for one in groups[:LISTED]))


def _named(paths: Sequence[str]) -> tuple[str, ...]:
    more = len(paths) - NAMED
    return (*paths[:NAMED], *([f"and {more:,} more"] if more > 0 else []))


def _counted(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in values.items())


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _sizes(sizes: Mapping[str, Any]) -> str:
    if not sizes["different"]:
        return "none"
    low, high = ("{} × {}".format(*sizes[key]) for key in ("smallest", "largest"))
    return f"{low} pixels" if sizes["different"] == 1 else f"{sizes['different']:,}, from {low} to {high} pixels"
