"""`python -m benchmarks.faults.tables FILE ...`: stored counts as the tables of docs/reliability.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults.outcomes import OUTCOMES

ATTACKS: Mapping[str, str] = {
    "damage": "one file of a cache, a run or a saved model truncated, zeroed, flipped, edited, replaced, removed",
    "models": "a model folder made to mislead or to harm",
    "names": "hostile names of files and classes",
    "fuzz": "mutated input of every reader",
    "kills": "killed at a moment, a file operation or a byte, half of them again during resume or saving",
    "full_disk": "the disk is full from some byte on, then resume",
    "streams": "standard output closed, full, of another encoding, or read by `head -1`",
    "signals": "SIGINT, SIGTERM, SIGHUP at a random moment, then resume",
}
"""What every family does, in the order of the table."""


def main() -> None:
    """Print one table: a line for each family of each file."""
    stored = [json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]
    print(table(stored))


def table(stored: Sequence[Mapping[str, Any]]) -> str:
    """Counts by outcome; outcomes that never occurred are left out."""
    lines = [(family, file["commit"][:7], file["families"][family]) for family in ATTACKS for file in stored
             if family in file["families"]]  # fmt: skip
    seen = [outcome for outcome in OUTCOMES if any(counts["outcomes"].get(outcome) for _, _, counts in lines)]
    header = ("attack", "commit", "trials", *(outcome.replace("_", " ") for outcome in seen), "wrong")
    rows = [
        (
            ATTACKS[family],
            commit,
            counts["trials"],
            *(counts["outcomes"].get(name, 0) for name in seen),
            counts["wrong"],
        )
        for family, commit, counts in lines
    ]
    return "\n".join(map(_line, (header, ["---"] * len(header), *rows)))


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else str(cell) for cell in cells)} |"


if __name__ == "__main__":
    main()
