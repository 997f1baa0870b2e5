"""The tables of a study, from its cells as they are stored: whatever is finished is shown, the rest is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from thawline.recipes.cells import AXES, label
from thawline.recipes.reading import Cell, by, mean, percent, rows_of, size, sizes, spread, title
from thawline.recipes.recipe import Recipe, Table
from thawline.recipes.runs import decode_right
from thawline.recipes.search_tables import data_share_tables, plan_tables
from thawline.results import DepthCurve
from thawline.studies.depth_curve import depth_curve
from thawline.studies.results import REFERENCE
from thawline.training.significance import SIGNIFICANT

LARGEST_CONFUSION = 20
"""Classes of a confusion matrix that is still shown; larger ones are in the cells."""


def gather(recipe: Recipe, cells: Sequence[Cell]) -> tuple[Table, ...]:
    """The study's tables for the cells there are."""
    kinds: Mapping[str, Callable[[Sequence[Cell]], Iterable[Table]]] = {
        "accuracy": _accuracy_tables,
        "data_share": data_share_tables,
        "depth": _depth_tables,
        "classes": _class_tables,
        "grid": _grid_tables,
    }
    return tuple(kinds[recipe.kind](_in_order(recipe, cells)))


def markdown(recipe: Recipe, cells: Sequence[Cell]) -> str:
    """The study as a page: the paper and its settings, our tables, the published ones, what to know."""
    paper = recipe.paper
    year = f" ({paper.year})" if paper.year else ""
    parts = [f"# {recipe.name}\n\n{paper.authors}{year}: {paper.title}. {paper.reference}.\n"]
    parts += ["## Measured\n", *(table.to_markdown() for table in gather(recipe, cells))]
    parts += ["## Published\n", _bullets(paper.settings), *(table.to_markdown() for table in recipe.expected)]
    parts += ["## To know\n", _bullets(paper.notes)]
    return "\n".join(parts)


def curve_of(cell: Cell) -> DepthCurve:
    """The depth curve of a cell's rows that could be trained."""
    rows = [row for row in cell["rows"] if not row.get("error")]
    images = cell["data"]["images"]["test"]
    return depth_curve(
        np.array([_share(row) for row in rows]),
        np.array([row["train"]["accuracy"]["per_seed"] for row in rows]),
        np.array([[decode_right(seed, images) for seed in row["test_right"]] for row in rows]),
    )


def _in_order(recipe: Recipe, cells: Sequence[Cell]) -> list[Cell]:
    """As the recipe lists networks and data sets; others come last."""
    models = [label(model) for model in recipe.run.models]
    columns = [column.name for column in recipe.columns]

    def place(cell: Cell) -> tuple[int, int]:
        model, data = cell["setting"]["model"], cell["setting"]["data"]
        return (
            models.index(model) if model in models else len(models),
            columns.index(data) if data in columns else len(columns),
        )

    return sorted(cells, key=place)


def _accuracy_tables(cells: Sequence[Cell]) -> Iterable[Table]:
    """Strategy x data for each network: test accuracy, its gain relative to full fine-tuning; what searches found."""
    notes = [
        "Test accuracy in %, mean ± standard error over seeds; in brackets the gain relative to full; bold = best.",
        f"\\* = differs from full: paired permutation test over the test images, Holm, p < {SIGNIFICANT}.",
    ]
    for model, group in by(cells, "model").items():
        columns = {cell["setting"]["data"]: rows_of(cell) for cell in group}
        strategies = dict.fromkeys(name for rows in columns.values() for name in rows)
        lines = [[name, *(_accuracy_cell(name, rows) for rows in columns.values())] for name in strategies]
        yield Table(model, ["strategy", *columns], lines, [*notes, *sizes(group)])
    yield from plan_tables(cells)


def _accuracy_cell(strategy: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    row = rows.get(strategy)
    if row is None or row.get("error"):
        return "failed" if row else "not run"
    means = {name: mean(one, "test") for name, one in rows.items() if not one.get("error")}
    text = spread(row, "test")
    if means[strategy] == max(means.values()):
        text = f"**{text}**"
    if strategy == REFERENCE or not means.get(REFERENCE):
        return text
    mark = "\\*" if (row["versus_full"] or {}).get("p_holm", 1) < SIGNIFICANT else ""
    return f"{text} ({100 * (means[strategy] / means[REFERENCE] - 1):+.1f} %{mark})"


def _depth_tables(cells: Sequence[Cell]) -> Iterable[Table]:
    """Train and test accuracy against the share of unfrozen layers, and what the curve says."""
    for cell in cells:
        curve = curve_of(cell)
        figures = zip(curve.shares, curve.train, curve.test, curve.gap_growth, curve.chance_best, strict=True)
        lines = [
            [
                f"{share:g}" + (" (best)" if share == curve.best else " (alike)" if share in curve.alike else ""),
                percent(train),
                percent(test),
                f"{100 * (train - test):.1f}",
                f"{100 * low:+.1f} to {100 * high:+.1f}",
                f"{chance:.0%}",
            ]
            for share, train, test, (low, high), chance in figures
        ]
        header = ["share of layers, %", "train, %", "test, %", "gap", "growth of the gap", "chance of being best"]
        yield Table(title(cell), header, lines, _depth_notes(cell, curve))


def _depth_notes(cell: Cell, curve: DepthCurve) -> list[str]:
    alike = ", ".join(f"{share:g}" for share in curve.alike)
    begins = curve.over_fitting_from
    rate = next(row["learning_rate"] for row in cell["rows"] if not row.get("error"))
    grows = "does not grow significantly" if begins is None else f"grows significantly from {begins:g} % on"
    return [
        f"Sweet spot (highest on test): {curve.best:g} % of the layers; not to be told apart from it (95 %, paired "
        f"over test images and seeds): {alike} %. One rate for all: {rate:g}.",
        f"Over-fitting: the gap between train and test {grows}, compared with the smallest share.",
        size(cell),
    ]


def _class_tables(cells: Sequence[Cell]) -> Iterable[Table]:
    """Accuracy and macro figures of every row, then the confusion matrices."""
    figures = ("accuracy", "macro_precision", "macro_recall", "macro_f1")
    header = [
        "data",
        "model",
        "strategy",
        "rate",
        "trains, %",
        *(name.replace("_", " ") for name in figures),
        "verdict",
    ]
    lines = []
    for cell in cells:
        for name, row in rows_of(cell).items():
            start = [cell["setting"]["data"], cell["setting"]["model"], name]
            if row.get("error"):
                lines.append([*start, *[""] * (len(header) - 4), row["error"]])
                continue
            verdict = (row["versus_full"] or {}).get("words", "")
            scores = [percent(row["test"][figure]["mean"]) for figure in figures]
            lines.append([*start, f"{row['learning_rate']:g}", f"{row['trainable_percent']:.1f}", *scores, verdict])
    yield Table("Test figures in %", header, lines, sizes(cells))
    for cell in cells:
        yield from _confusions(cell)


def _confusions(cell: Cell) -> Iterable[Table]:
    classes = cell["data"]["classes"]
    if len(classes) > LARGEST_CONFUSION:
        return
    for name, row in rows_of(cell).items():
        if row.get("error"):
            continue
        counts = row["test"]["confusion_matrix"]
        lines = [[true, *map(str, line)] for true, line in zip(classes, counts, strict=True)]
        yield Table(f"{title(cell)}, {name}: true x predicted, lowest seed", ["", *classes], lines)


def _grid_tables(cells: Sequence[Cell]) -> Iterable[Table]:
    """One table per axis through the centre; and all cells where there are more."""
    for group in by(cells, "model", "data").values():
        for axis in AXES:
            line = [cell for cell in group if set(cell["varied"]) <= {axis}]
            if len(line) > 1:
                ordered = sorted(line, key=lambda cell: _position(cell, axis))
                yield _grid_table(f"{title(group[0])}: {axis.replace('_', ' ')}", (axis,), ordered)
        if any(len(cell["varied"]) > 1 for cell in group):
            yield _grid_table(f"{title(group[0])}: all cells", AXES, group)


def _grid_table(title: str, axes: Sequence[str], cells: Sequence[Cell]) -> Table:
    header = [*axes, "train accuracy, %", "test accuracy, %", "95 % interval", "train loss", "test loss"]
    centre: Mapping[str, Any] = next((cell["setting"] for cell in cells if not cell["varied"]), {})
    others = ", ".join(f"{axis} {centre[axis]}" for axis in AXES if axis in centre and axis not in axes)
    notes = [f"The others stand at: {others}."] if others else []
    return Table(title, header, [_grid_line(cell, axes) for cell in cells], [*notes, *sizes(cells[-1:])])


def _grid_line(cell: Cell, axes: Sequence[str]) -> list[str]:
    start = [f"{cell['setting'][axis]}" for axis in axes]
    row = cell["rows"][0]
    if row.get("error"):
        return [*start, row["error"], "", "", "", ""]
    low, high = row["test"]["interval95"]
    losses = [f"{row[split]['negative_log_likelihood']['mean']:.3f}" for split in ("train", "test")]
    scores = [percent(mean(row, split)) for split in ("train", "test")]
    return [*start, *scores, f"{percent(low)} to {percent(high)}", *losses]


def _position(cell: Cell, axis: str) -> tuple[float, str]:
    """Numbers by size, freezing levels by what they train, optimisers by name."""
    value, row = cell["setting"][axis], cell["rows"][0]
    number = row.get("trainable_percent", 0.0) if axis == "strategy" else value
    return (float(number), "") if isinstance(number, int | float) else (0.0, str(value))


def _share(row: Mapping[str, Any]) -> float:
    return float(row["strategy"].partition("share=")[2])


def _bullets(sentences: Sequence[str]) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)
