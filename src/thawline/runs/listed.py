"""The images of a run: the rows of its splits.csv."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from thawline.data.sources import Item
from thawline.results import FitResults
from thawline.runs.files import RESULTS, SPLITS, read, read_splits
from thawline.runs.sealed import is_expected


@dataclass(frozen=True)
class Listed:
    """A row of splits.csv."""

    name: str
    """Path relative to the data."""
    path: Path
    label: str
    split: str


def listed(run: Path, root: Path) -> list[Listed]:
    """Every image of the run in that folder; `root` is the folder of its data."""
    return [Listed(line.path, root / line.path, line.label, line.split) for line in read_splits(run / SPLITS)]


def by_file(rows: Iterable[Listed]) -> dict[str, Listed]:
    """The rows by the real paths of their images, with symbolic links resolved."""
    return {os.path.realpath(row.path): row for row in rows}


def seen(folder: Path, items: Sequence[Item]) -> dict[str, int]:
    """How many of these images the `fit` in that folder used for training ("train") or validation ("val"), by path.

    A refit trained on both. Empty if the folder is not a `fit` run.
    """
    if not all(is_expected(folder / name) for name in (RESULTS["fit"], SPLITS)):
        return {}
    results = read(folder / RESULTS["fit"], FitResults)
    known = by_file(listed(folder, Path(results.data.root)))
    counts = Counter(row.split for item in items if (row := known.get(os.path.realpath(item.path))))
    if results.refit:
        counts = Counter(train=counts["train"] + counts["val"])
    return {split: counts[split] for split in ("train", "val") if counts[split]}


def is_refitted(folder: Path) -> bool:
    """Whether the model of the `fit` in that folder was refitted, so that the scores of the run are not its own."""
    return is_expected(folder / RESULTS["fit"]) and read(folder / RESULTS["fit"], FitResults).refit is not None
