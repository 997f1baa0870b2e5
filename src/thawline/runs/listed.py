"""The images that a run knew: the rows of its splits.csv."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from thawline.data.sources import Item
from thawline.records import read_json
from thawline.runs.folder import RESULTS


@dataclass(frozen=True)
class Listed:
    """A row of splits.csv."""

    name: str
    """Relative to the data."""
    path: Path
    label: str
    split: str


def listed(run: Path, root: Path) -> list[Listed]:
    """Every image that the run in that folder knew; `root` = where its data was."""
    with (run / "splits.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return [Listed(row["path"], root / row["path"], row["label"], row["split"]) for row in csv.DictReader(stream)]


def by_file(rows: Iterable[Listed]) -> dict[str, Listed]:
    """The rows by where their images really are, links followed."""
    return {os.path.realpath(row.path): row for row in rows}


def seen(folder: Path, items: Sequence[Item]) -> dict[str, int]:
    """How many of these images the `fit` in that folder trained on ("train") or chose by ("val"), by their paths.

    Nothing is known of another folder.
    """
    if not all((folder / name).is_file() for name in (RESULTS["fit"], "splits.csv")):
        return {}
    root = Path(read_json(folder / RESULTS["fit"])["data"]["root"])
    known = by_file(listed(folder, root))
    counts = Counter(row.split for item in items if (row := known.get(os.path.realpath(item.path))))
    return {split: counts[split] for split in ("train", "val") if counts[split]}
