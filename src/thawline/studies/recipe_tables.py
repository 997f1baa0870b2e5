"""The tables of a study, from its cells as they are stored: whatever is finished is shown, the rest is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from thawline.studies.depth_curve import DepthCurve, depth_curve
from thawline.studies.recipe_cells import label
from thawline.studies.recipe_runs import decode_right
from thawline.studies.recipes import AXES, Recipe
from thawline.studies.results import REFERENCE
from thawline.studies.tables import Table
from thawline.training.significance import SIGNIFICANT

Cell = Mapping[str, Any]

LARGEST_CONFUSION = 20
"""Classes of a confusion matrix that is still shown; larger ones are in the cells."""


def gather(recipe: Recipe, cells: Sequence[Cell]) -> tuple[Table, ...]:
    """The study's tables for the cells there are."""
    kinds: Mapping[str, Callable[[Sequence[Cell]], Iterable[Table]]] = {
        "accuracy": _accuracy_tables,
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
    """Strategy x data for each network: test accuracy, and its gain relative to full fine-tuning."""
    notes = [
        "Test accuracy in %, mean ± standard error over seeds; in brackets the gain relative to full; bold = best.",
        f"\\* = differs from full: paired permutation test over the test images, Holm, p < {SIGNIFICANT}.",
    ]
    for model, group in _by(cells, "model").items():
        columns = {cell["setting"]["data"]: _rows(cell) for cell in group}
        strategies = dict.fromkeys(name for rows in columns.values() for name in rows)
        lines = [[name, *(_accuracy_cell(name, rows) for rows in columns.values())] for name in strategies]
        yield Table(model, ["strategy", *columns], lines, [*notes, *_sizes(group)])


def _accuracy_cell(strategy: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    row = rows.get(strategy)
    if row is None or row.get("error"):
        return "failed" if row else "not run"
    means = {name: _mean(one, "test") for name, one in rows.items() if not one.get("error")}
    error = row["test"]["accuracy"]["standard_error"]
    text = f"{100 * means[strategy]:.2f}" + (f" ± {100 * error:.2f}" if error is not None else "")
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
                _percent(train),
                _percent(test),
                f"{100 * (train - test):.1f}",
                f"{100 * low:+.1f} to {100 * high:+.1f}",
                f"{chance:.0%}",
            ]
            for share, train, test, (low, high), chance in figures
        ]
        header = ["share of layers, %", "train, %", "test, %", "gap", "growth of the gap", "chance of being best"]
        yield Table(_title(cell), header, lines, _depth_notes(cell, curve))


def _depth_notes(cell: Cell, curve: DepthCurve) -> list[str]:
    alike = ", ".join(f"{share:g}" for share in curve.alike)
    begins = curve.over_fitting_from
    rate = next(row["learning_rate"] for row in cell["rows"] if not row.get("error"))
    grows = "does not grow significantly" if begins is None else f"grows significantly from {begins:g} % on"
    return [
        f"Sweet spot: {curve.best:g} % of the layers; not to be told apart from it (95 %, paired over test images and "
        f"seeds): {alike} %. One rate for all: {rate:g}.",
        f"Over-fitting: the gap between train and test {grows}, compared with the smallest share.",
        _size(cell),
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
        for name, row in _rows(cell).items():
            start = [cell["setting"]["data"], cell["setting"]["model"], name]
            if row.get("error"):
                lines.append([*start, *[""] * (len(header) - 4), row["error"]])
                continue
            verdict = (row["versus_full"] or {}).get("words", "")
            scores = [_percent(row["test"][figure]["mean"]) for figure in figures]
            lines.append([*start, f"{row['learning_rate']:g}", f"{row['trainable_percent']:.1f}", *scores, verdict])
    yield Table("Test figures in %", header, lines, _sizes(cells))
    for cell in cells:
        yield from _confusions(cell)


def _confusions(cell: Cell) -> Iterable[Table]:
    classes = cell["data"]["classes"]
    if len(classes) > LARGEST_CONFUSION:
        return
    for name, row in _rows(cell).items():
        if row.get("error"):
            continue
        counts = row["test"]["confusion_matrix"]
        lines = [[true, *map(str, line)] for true, line in zip(classes, counts, strict=True)]
        yield Table(f"{_title(cell)}, {name}: true x predicted, lowest seed", ["", *classes], lines)


def _grid_tables(cells: Sequence[Cell]) -> Iterable[Table]:
    """One table per axis through the centre; and all cells where there are more."""
    for group in _by(cells, "model", "data").values():
        for axis in AXES:
            line = [cell for cell in group if set(cell["varied"]) <= {axis}]
            if len(line) > 1:
                ordered = sorted(line, key=lambda cell: _position(cell, axis))
                yield _grid_table(f"{_title(group[0])}: {axis.replace('_', ' ')}", (axis,), ordered)
        if any(len(cell["varied"]) > 1 for cell in group):
            yield _grid_table(f"{_title(group[0])}: all cells", AXES, group)


def _grid_table(title: str, axes: Sequence[str], cells: Sequence[Cell]) -> Table:
    header = [*axes, "train accuracy, %", "test accuracy, %", "95 % interval", "train loss", "test loss"]
    centre: Mapping[str, Any] = next((cell["setting"] for cell in cells if not cell["varied"]), {})
    others = ", ".join(f"{axis} {centre[axis]}" for axis in AXES if axis in centre and axis not in axes)
    notes = [f"The others stand at: {others}."] if others else []
    return Table(title, header, [_grid_line(cell, axes) for cell in cells], [*notes, *_sizes(cells[-1:])])


def _grid_line(cell: Cell, axes: Sequence[str]) -> list[str]:
    start = [f"{cell['setting'][axis]}" for axis in axes]
    row = cell["rows"][0]
    if row.get("error"):
        return [*start, row["error"], "", "", "", ""]
    low, high = row["test"]["interval95"]
    losses = [f"{row[split]['negative_log_likelihood']['mean']:.3f}" for split in ("train", "test")]
    scores = [_percent(_mean(row, split)) for split in ("train", "test")]
    return [*start, *scores, f"{_percent(low)} to {_percent(high)}", *losses]


def _position(cell: Cell, axis: str) -> tuple[float, str]:
    """Numbers by size, freezing levels by what they train, optimisers by name."""
    value, row = cell["setting"][axis], cell["rows"][0]
    number = row.get("trainable_percent", 0.0) if axis == "strategy" else value
    return (float(number), "") if isinstance(number, int | float) else (0.0, str(value))


def _by(cells: Sequence[Cell], *names: str) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(", ".join(cell["setting"][name] for name in names), []).append(cell)
    return groups


def _rows(cell: Cell) -> dict[str, Mapping[str, Any]]:
    return {row["strategy"]: row for row in cell["rows"]}


def _title(cell: Cell) -> str:
    return f"{cell['setting']['model']} on {cell['setting']['data']}"


def _sizes(cells: Sequence[Cell]) -> list[str]:
    """How small the study was run: a note for every data set."""
    return list(dict.fromkeys(_size(cell) for cell in cells))


def _size(cell: Cell) -> str:
    request, images = cell["request"], cell["data"]["images"]
    epochs, seeds, side = request["train"]["epochs"], request["search"]["seeds"], request["images"]["image_size"]
    counts = ", ".join(f"{count:,} {split}" for split, count in images.items())
    pixels = f" at {side} px" if side else ""
    plural = "s" if seeds > 1 else ""
    return f"{cell['setting']['data']}: {counts} images{pixels}; up to {epochs} epochs, {seeds} seed{plural}."


def _share(row: Mapping[str, Any]) -> float:
    return float(row["strategy"].partition("share=")[2])


def _mean(row: Mapping[str, Any], split: str) -> float:
    return float(row[split]["accuracy"]["mean"])


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _bullets(sentences: Sequence[str]) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)
