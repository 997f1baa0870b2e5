"""Tables of what searches found: share of data against accuracy and cost, which blocks train, and how fast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from thawline.recipes.reading import Cell, Row, by, percent, rows_of, sizes, spread, title
from thawline.recipes.recipe import Table

FROZEN = "❄"


def data_share_tables(cells: Sequence[Cell]) -> Iterable[Table]:
    """Share of the training split per generation against accuracy and cost; then the plans that were found."""
    header = ["share, %", "test accuracy, %", "95 % interval", "trains, %", "trainings", "work", "seconds"]
    note = (
        "Share of the training split that a generation trains on. Work in full fine-tunings, the search and one final "
        "training; seconds of all trainings."
    )
    for cell in cells:
        found = sorted(_searched(cell), key=_share)
        lines = [[f"{100 * _share(row):g}", *_cost_line(row)] for row in found]
        failed = [f"{name} failed: {row['error']}" for name, row in rows_of(cell).items() if row.get("error")]
        yield Table(title(cell), header, lines, [note, *failed, *sizes([cell])])
        plans = {f"{100 * _share(row):g} %": row["search"]["blocks"] for row in found}
        yield weights_table(f"{title(cell)}: plan by share of the data", plans)


def plan_tables(cells: Sequence[Cell]) -> Iterable[Table]:
    """For every network and strategy that searches: how much it trains of each data set, and its plans."""
    for model, group in by(cells, "model").items():
        found = {cell["setting"]["data"]: {row["strategy"]: row for row in _searched(cell)} for cell in group}
        for strategy in dict.fromkeys(name for rows in found.values() for name in rows):
            rows = {data: own[strategy] for data, own in found.items() if strategy in own}
            yield trained_table(f"{model}, {strategy}: parameters that train, %", rows)
            plans = {data: row["search"]["blocks"] for data, row in rows.items()}
            yield weights_table(f"{model}, {strategy}: plans", plans)


def trained_table(heading: str, rows: Mapping[str, Row]) -> Table:
    """Table II of the paper: share of the parameters that the winner trains, by data set."""
    return Table(heading, list(rows), [[f"{row['search']['trainable_percent']:.2f}" for row in rows.values()]])


def weights_table(heading: str, plans: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """Figure 2 of the paper: block x data set, the weight on the base rate, or a snowflake."""
    names = dict.fromkeys(block["name"] for blocks in plans.values() for block in blocks)
    weights = {column: {block["name"]: block["weight"] for block in blocks} for column, blocks in plans.items()}
    lines = [[name, *(_weight(own.get(name)) for own in weights.values())] for name in names]
    return Table(heading, ["block", *plans], lines, [f"Weight on the base rate; {FROZEN} = frozen."])


def _searched(cell: Cell) -> list[Row]:
    return [row for row in cell["rows"] if row.get("search")]


def _share(row: Row) -> float:
    return float(row["search"]["data_share"])


def _cost_line(row: Row) -> list[str]:
    low, high = row["test"]["interval95"]
    cost = row["cost"]
    return [
        spread(row, "test"),
        f"{percent(low)} to {percent(high)}",
        f"{row['search']['trainable_percent']:.2f}",
        f"{cost['trainings']}",
        f"{cost['work']:.1f}",
        f"{cost['seconds']:.0f}",
    ]


def _weight(weight: float | None) -> str:
    return FROZEN if weight is None else f"{weight:.2g}"
