"""The table of all machines, from made-up cells."""

from __future__ import annotations

from benchmarks.speed.measuring import at_least, at_most, reported, spread
from benchmarks.speed.tables import side_by_side


def test_a_claim_is_a_row_and_a_machine_a_column() -> None:
    first = [{"claims": [at_least("a step", "the loop", 2.0, spread([1.9, 2.1, 2.2]))]}]
    second = [
        {"claims": [at_least("a step", "the loop", 2.0, spread([1.8, 1.9, 2.0]))]},
        {"claims": [at_most("memory", "the floor", 1.5, spread([1.4])), reported("a step", "itself", spread([3.0]))]},
    ]
    assert side_by_side({"ONE": first, "OTHER": second}).splitlines() == [
        "| work | against | wanted | ONE | OTHER |",
        "| --- | --- | --- | --- | --- |",
        "| a step | the loop | at least 2x | 2.1x (1.9 to 2.2) met | 1.9x (1.8 to 2) **missed** |",
        "| memory | the floor | at most 1.5x |  | 1.4x (1.4 to 1.4) met |",
        "| a step | itself |  |  | 3x (3 to 3) |",
    ]
