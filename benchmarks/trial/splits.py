"""Which splits the trial draws, and what each is for."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.trial.procedures import Procedure

DEVELOPMENT = {"dtd10": range(5), "flowers5": range(3)}
PUBLISHED = {"dtd10": range(110, 115), "flowers5": range(110, 113)}
"""Planned before any was run. Splits 100 to 102 of dtd10 were spent on commit c6f1954, whose faults were found while
they ran."""


def planned(procedure: Procedure, data: str, development: bool) -> Sequence[int]:
    """Splits that `procedure` was to run on; none where it takes no part."""
    every = DEVELOPMENT if development else PUBLISHED
    return every[data][: procedure.splits] if data in procedure.data else ()


def is_development(split: int) -> bool:
    """Whether what a split says is no published figure."""
    return split < PUBLISHED["dtd10"].start
