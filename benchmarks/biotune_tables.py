"""Tables of the cells that benchmarks/biotune.py keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.table import HEADER, RULE, line
from thawline.recipes.recipe import Table
from thawline.recipes.search_tables import trained_table, weights_table
from thawline.records import unpack_bits
from thawline.results import SearchRecord
from thawline.runs.files import decode
from thawline.training import significance

Cell = Mapping[str, Any]
Row = Mapping[str, Any]


def page(cells: Sequence[Cell]) -> str:
    """The tables of whatever is finished."""
    protocol = [cell for cell in cells if not cell["part"] and cell["search_seed"] == 0]
    parts = ["# BioTune, reduced protocol\n", *(_protocol(cell) for cell in protocol)]
    found = {cell["setting"]["data"]: row for cell in protocol if (row := _searched(cell))}
    if found:
        searches = {name: decode(row["search"], SearchRecord) for name, row in found.items()}
        parts += [
            trained_table("Parameters that train, % (Table II of the paper)", searches).to_markdown(),
            weights_table("Plans (Figure 2 of the paper)", searches).to_markdown(),
            *(_course(name, row).to_markdown() for name, row in found.items()),
        ]
    data = protocol[0]["setting"]["data"] if protocol else ""
    compared = [cell for cell in cells if cell["setting"]["data"] == data]
    if any(cell["part"] for cell in compared):
        parts.append(_ablation(data, compared).to_markdown())
    return "\n".join(parts)


def _protocol(cell: Cell) -> str:
    images = ", ".join(f"{count:,} {split}" for split, count in cell["data"]["images"].items())
    rows = [row for row in cell["rows"] if not row.get("error")]
    return "\n".join([f"### {cell['setting']['data']}: {images}", "", HEADER, RULE, *map(line, rows), ""])


def _searched(cell: Cell) -> Row | None:
    """The row of the search; None if it failed."""
    return next((row for row in cell["rows"] if row.get("search")), None)


def _course(name: str, row: Row) -> Table:
    """Convergence and diversity, and what it cost."""
    search, cost = row["search"], row["cost"]
    scores = ("best", "mean", "diversity")
    lines = [
        [
            *(f"{generation[key]}" for key in ("generation", "fold", "evaluations")),
            *(f"{generation[key]:.3f}" for key in scores),
        ]
        for generation in search["generations"]
    ]
    note = (
        f"{search['trainings']} trainings in the search and its retraining, {search['work']:.1f} units of work; with "
        f"one final training {cost['work']:.1f}; {cost['seconds'] / 60:.1f} min of training in all."
    )
    header = ["generation", "fold", "evaluations", "best val", "mean val", "diversity"]
    return Table(f"Course of the search on {name}", header, lines, [note])


def _ablation(data: str, cells: Sequence[Cell]) -> Table:
    """Each part left out, against the whole on the same test images and search seeds."""
    found = {(cell["part"], cell["search_seed"]): row for cell in cells if (row := _searched(cell))}
    seeds = {part: [seed for own, seed in found if own == part and ("", seed) in found] for part, _ in found}
    images = cells[0]["data"]["images"]["test"]
    right = {part: _right([found[part, seed] for seed in own], images) for part, own in seeds.items() if part and own}
    versus = {
        part: significance.compare(own, _right([found["", seed] for seed in seeds[part]], images))
        for part, own in right.items()
    }
    adjusted = dict(zip(versus, significance.holm([test.p for test in versus.values()]), strict=True))
    lines = [["as published", *_means([found["", seed] for seed in seeds.get("", [])]), "", ""]]
    for part, test in versus.items():
        low, high = test.interval95
        difference = f"{test.difference:+.3f} ({low:+.3f} to {high:+.3f})"
        means = _means([found[part, seed] for seed in seeds[part]])
        lines.append([part.replace("-", " "), *means, difference, f"{adjusted[part]:.2g}"])
    header = ["search", "search seeds", "val", "test", "trains, %", "trainings", "work", "minus whole", "p (Holm)"]
    note = (
        "Accuracies are means over search seeds and final seeds; trainings and work those of the search. Minus whole: "
        "test accuracy, paired over test images, which says nothing about another search seed."
    )
    return Table(f"Parts of the search left out one by one, {data}", header, lines, [note])


def _right(rows: Sequence[Row], images: int) -> np.ndarray:
    """Share of all trainings that got each test image right, [n]."""
    seeds = [unpack_bits(seed, images) for row in rows for seed in row["test_right"]]
    share: np.ndarray = np.stack(seeds).mean(axis=0)
    return share


def _means(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return ["0", "", "", "", "", ""]
    val, test = (np.mean([row[split]["accuracy"]["mean"] for row in rows]) for split in ("val", "test"))
    names = ("trainable_percent", "trainings", "work")
    trained, trainings, work = (np.mean([row["search"][name] for row in rows]) for name in names)
    return [f"{len(rows)}", f"{val:.3f}", f"{test:.3f}", f"{trained:.1f}", f"{trainings:.0f}", f"{work:.1f}"]
