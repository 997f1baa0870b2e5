"""The data audit of check.json as short lists: what to look at first, and which files it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thawline.formatting import extent, tally
from thawline.results import CheckResult, FileGroup, ImageSizes

LISTED = 10
"""Groups of files of each kind."""
NAMED = 6
"""Files of one group."""
NO_PROBLEMS = "No problems found."


@dataclass(frozen=True)
class Finding:
    """Files with one kind of problem."""

    title: str
    groups: tuple[tuple[str, ...], ...]
    """Files that belong together."""

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.groups)

    @property
    def listed(self) -> list[tuple[str, ...]]:
        """The first `LISTED` groups with the first `NAMED` files of each."""
        return [_named(paths) for paths in self.groups[:LISTED]]


@dataclass(frozen=True)
class Audit:
    """What the page shows."""

    facts: Mapping[str, str]
    warnings: Sequence[str]
    findings: tuple[Finding, ...]


def audit(found: CheckResult, images: Mapping[str, int], notes: Sequence[str]) -> Audit:
    """The audit section, made from check.json, the images per split of the run, and the notes on the splits."""
    counts = list(found.classes.values())
    facts = {
        "images": f"{found.images:,}",
        "used": ", ".join(f"{count:,} {split}" for split, count in images.items()),
        "classes": f"{len(counts):,}, with {extent(counts)} images",
        "formats": tally(found.formats),
        "color": modes_in_words(found.modes),
        "sizes": sizes_in_words(found.sizes),
        **({"decoded with care": tally(found.oddities)} if found.oddities else {}),
    }
    return Audit(facts, [*found.warnings, *notes], findings(found))


def findings(found: CheckResult) -> tuple[Finding, ...]:
    """Every file with a problem, once for each problem; kinds that do not occur are left out."""
    copies, near = found.duplicates, found.lookalikes
    every = (
        Finding("Unreadable", tuple((f"{skipped.path}: {skipped.reason}",) for skipped in found.unreadable)),
        _finding("The same file under different labels", [group for group in copies if group.contradicts]),
        _finding("The same file across splits", [group for group in copies if group.leaks and not group.contradicts]),
        _finding("Near-duplicates under different labels", [group for group in near if group.contradicts]),
        _finding("Near-duplicates across splits", [group for group in near if group.leaks and not group.contradicts]),
        Finding("Groups across splits", tuple((group,) for group in found.leaking_groups)),
        _finding("The same file twice", [group for group in copies if not group.leaks and not group.contradicts]),
    )
    return tuple(finding for finding in every if finding.count)


def modes_in_words(modes: Mapping[str, int]) -> str:
    """Pillow modes in plain words where all images have one of the common ones: `all gray`."""
    names = {"L": "all gray", "RGB": "all RGB"}
    only = next(iter(modes)) if len(modes) == 1 else ""
    return names.get(only, tally(modes))


def sizes_in_words(sizes: ImageSizes) -> str:
    """`all 128 × 128 pixels`, `140 sizes from 160 × 160 to 320 × 160 pixels`."""
    if sizes.smallest is None or sizes.largest is None:
        return "none"
    low, high = (f"{width} × {height}" for width, height in (sizes.smallest, sizes.largest))
    return f"all {low} pixels" if sizes.different == 1 else f"{sizes.different:,} sizes from {low} to {high} pixels"


def _finding(title: str, groups: Sequence[FileGroup]) -> Finding:
    return Finding(title, tuple(tuple(group.paths) for group in groups))


def _named(paths: Sequence[str]) -> tuple[str, ...]:
    more = len(paths) - NAMED
    return (*paths[:NAMED], *([f"and {more:,} more"] if more > 0 else []))
