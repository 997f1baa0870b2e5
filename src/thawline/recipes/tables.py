"""The tables of a study, from its cells as they are stored: whatever is finished is shown, the rest is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from thawline import verdicts
from thawline.recipes.architectures import across_tables
from thawline.recipes.cells import AXES, label
from thawline.recipes.reading import by, failures, interval, on_test, percent, scored, size, sizes, spread, title
from thawline.recipes.recipe import Recipe, Table
from thawline.recipes.search_tables import data_share_tables, plan_tables
from thawline.records import unpack_bits
from thawline.report.plan_words import BATCH_NORM_SHORT, base_rate
from thawline.results import DepthCurve, RecipeCell, Row, ScoredCellRow
from thawline.studies.depth_curve import depth_curve
from thawline.verdicts import REFERENCE, SIGNIFICANT, differs

CHOSEN = "Learning rate, batch norm of trained blocks, what the head starts from. A solved probe has no rate."
LARGEST_CONFUSION = 20
"""Classes of the largest confusion matrix that is shown; larger ones are in the cells only."""


def gather(recipe: Recipe, cells: Sequence[RecipeCell]) -> tuple[Table, ...]:
    """The study's tables for the cells there are."""
    kinds: Mapping[str, Callable[[Sequence[RecipeCell]], Iterable[Table]]] = {
        "accuracy": _accuracy_tables,
        "architectures": _architecture_tables,
        "data_share": data_share_tables,
        "depth": _depth_tables,
        "classes": _class_tables,
        "grid": _grid_tables,
    }
    return tuple(kinds[recipe.kind](_in_order(recipe, cells)))


def markdown(recipe: Recipe, cells: Sequence[RecipeCell], said: Sequence[str] = ()) -> str:
    """The study as a page: the paper, what came out (`said`), the measured and the published tables, and notes."""
    paper = recipe.paper
    year = f" ({paper.year})" if paper.year else ""
    parts = [f"# {recipe.name}\n\n{paper.authors}{year}: {paper.title}. {paper.reference}.\n"]
    if said:
        parts.append(f"**{said[0]}**\n\n{_bullets(said[1:])}")
    parts += ["## Measured\n", *(table.to_markdown() for table in gather(recipe, cells))]
    parts += ["## Published\n", _bullets(paper.settings), *(table.to_markdown() for table in recipe.expected)]
    parts += ["## Notes\n", _bullets(paper.notes)]
    return "\n".join(parts)


def curve_of(cell: RecipeCell) -> DepthCurve:
    """The depth curve of a cell's rows that could be trained."""
    rows = scored(cell)
    images = cell.data.images["test"]
    return depth_curve(
        np.array([float(row.strategy.partition("share=")[2]) for row in rows]),
        np.array([row.train.accuracy.per_seed for row in rows]),
        np.array([[unpack_bits(seed, images) for seed in row.test_right] for row in rows]),
        cell.data.images["train"],
    )


def _in_order(recipe: Recipe, cells: Sequence[RecipeCell]) -> list[RecipeCell]:
    """Sorted as the recipe lists networks and datasets; others come last."""
    models = [label(model) for model in recipe.run.models]
    columns = [column.name for column in recipe.columns]

    def place(cell: RecipeCell) -> tuple[int, int]:
        model, data = cell.setting.model, cell.setting.data
        return (
            models.index(model) if model in models else len(models),
            columns.index(data) if data in columns else len(columns),
        )

    return sorted(cells, key=place)


def _accuracy_tables(cells: Sequence[RecipeCell]) -> Iterable[Table]:
    """Strategy x data for each network; what searches found."""
    for model, group in by(cells, "model").items():
        yield from _strategy_tables(model, {cell.setting.data: cell for cell in group})
    yield from plan_tables(cells)


def _architecture_tables(cells: Sequence[RecipeCell]) -> Iterable[Table]:
    """Strategy x network for each dataset, the networks against each other, what searches found."""
    for data, group in by(cells, "data").items():
        yield from _strategy_tables(data, {cell.setting.model: cell for cell in group})
    yield from across_tables(cells)
    yield from plan_tables(cells)


def _strategy_tables(heading: str, cells: Mapping[str, RecipeCell]) -> Iterable[Table]:
    """Test accuracy of every strategy in every cell and its gain relative to full fine-tuning; intervals; choices."""
    notes = [
        "Test accuracy in %, mean ± standard error over seeds; in brackets the gain relative to full; bold = "
        "highest; guessing = no better than the majority-class baseline (95 % over test images).",
        f"\\* = differs from full: paired permutation test over the test images, Holm, p < {SIGNIFICANT}.",
    ]
    group = list(cells.values())
    strategies = dict.fromkeys(row.strategy for cell in group for row in cell.rows)
    columns = ["strategy", *cells]
    lines = [[name, *(_accuracy_cell(name, cell) for cell in group)] for name in strategies]
    yield Table(heading, columns, [*lines, *_neighbors_line(group)], [*notes, *sizes(group)])
    yield Table(
        f"{heading}: 95 % intervals of the test accuracy",
        columns,
        [[name, *(_interval_cell(name, cell) for cell in group)] for name in strategies],
        ["In %, over test images; in brackets the interval of the difference from full, in points."],
    )
    chosen = [[name, *(_chosen_cell(name, cell) for cell in group)] for name in strategies]
    yield Table(f"{heading}: what was chosen", columns, chosen, [CHOSEN, BATCH_NORM_SHORT])


def _accuracy_cell(strategy: str, cell: RecipeCell) -> str:
    rows = {row.strategy: row for row in scored(cell)}
    if strategy not in rows:
        return "failed" if strategy in failures(cell) else "not run"
    row, means = rows[strategy], {name: on_test(row).accuracy.mean for name, row in rows.items()}
    text = spread(row)
    if means[strategy] == max(means.values()):
        text = f"**{text}**"
    if verdicts.guessing(on_test(row)):
        text += " (guessing)"
    if strategy == REFERENCE or not means.get(REFERENCE):
        return text
    mark = "\\*" if row.versus_full and differs(row.versus_full) else ""
    return f"{text} ({100 * (means[strategy] / means[REFERENCE] - 1):+.1f} %{mark})"


def _interval_cell(strategy: str, cell: RecipeCell) -> str:
    """`90.1 to 93.4 (-0.5 to +2.1)`; empty for a row that could not be trained."""
    row = next((row for row in scored(cell) if row.strategy == strategy), None)
    if row is None:
        return ""
    if row.versus_full is None or strategy == REFERENCE:
        return interval(row)
    low, high = (100 * end for end in row.versus_full.interval95)
    return f"{interval(row)} ({low:+.1f} to {high:+.1f})"


def _neighbors_line(cells: Sequence[RecipeCell]) -> Iterable[list[str]]:
    """What the features of the solved probe give without any head, where there is one."""
    found = [next((row.nearest_neighbors for row in scored(cell) if row.nearest_neighbors), None) for cell in cells]
    if any(found):
        tests = [None if neighbors is None else neighbors.test for neighbors in found]
        yield ["nearest neighbors", *("" if test is None else f"{100 * test:.2f}" for test in tests)]


def _chosen_cell(strategy: str, cell: RecipeCell) -> str:
    """Rate, norm mode and head start: `3e-4, kept, probe`."""
    row = next((row for row in scored(cell) if row.strategy == strategy), None)
    if row is None:
        return ""
    return ", ".join(filter(None, (base_rate(row), row.batch_norm, _head_from(row))))


def _head_from(row: ScoredCellRow) -> str:
    return "random" if row.probe_strength is None else "probe"


def _depth_tables(cells: Sequence[RecipeCell]) -> Iterable[Table]:
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


def _depth_notes(cell: RecipeCell, curve: DepthCurve) -> list[str]:
    rows = scored(cell)
    trainings = rows[0].train.accuracy.n
    found = verdicts.depth(curve, [on_test(row) for row in rows], cell.data.images["test"], trainings)
    return [f"{found} One rate for all: {base_rate(rows[0])}.", size(cell)]


def _class_tables(cells: Sequence[RecipeCell]) -> Iterable[Table]:
    """Accuracy and macro figures of every row, then the confusion matrices."""
    names = ["accuracy", "macro precision", "macro recall", "macro f1"]
    settings = ["data", "model", "strategy", "rate", "batch norm", "head start", "trains, %"]
    header = [*settings, *names, "accuracy, 95 % interval", "verdict"]
    lines = [_class_line(cell, row) for cell in cells for row in cell.rows]
    yield Table("Test figures in %", header, lines, sizes(cells))
    for cell in cells:
        yield from _confusions(cell)


def _class_line(cell: RecipeCell, row: Row) -> list[str]:
    start = [cell.setting.data, cell.setting.model, row.strategy]
    if not isinstance(row, ScoredCellRow):
        return [*start, *[""] * 9, row["error"]]
    test = on_test(row)
    figures = (test.accuracy, test.macro_precision, test.macro_recall, test.macro_f1)
    verdict = verdicts.row(test, row.versus_full, cell.data.images["test"])
    rates = [base_rate(row), row.batch_norm or "", _head_from(row), f"{row.trainable_percent:.1f}"]
    return [*start, *rates, *(percent(figure.mean) for figure in figures), interval(row), verdict]


def _confusions(cell: RecipeCell) -> Iterable[Table]:
    classes = cell.data.classes
    if len(classes) > LARGEST_CONFUSION:
        return
    for row in scored(cell):
        counts = on_test(row).confusion_matrix
        lines = [[true, *map(str, line)] for true, line in zip(classes, counts, strict=True)]
        yield Table(f"{title(cell)}, {row.strategy}: true x predicted, lowest seed", ["", *classes], lines)


def _grid_tables(cells: Sequence[RecipeCell]) -> Iterable[Table]:
    """A table for each axis through the center; and all cells if there are more."""
    for group in by(cells, "model", "data").values():
        for axis in AXES:
            line = [cell for cell in group if set(cell.varied) <= {axis}]
            if len(line) > 1:
                ordered = sorted(line, key=lambda cell: _position(cell, axis))
                yield _grid_table(f"{title(group[0])}: {axis.replace('_', ' ')}", (axis,), ordered)
        if any(len(cell.varied) > 1 for cell in group):
            yield _grid_table(f"{title(group[0])}: all cells", AXES, group)


def _grid_table(heading: str, axes: Sequence[str], cells: Sequence[RecipeCell]) -> Table:
    header = [*axes, "train accuracy, %", "test accuracy, %", "95 % interval", "train loss", "test loss"]
    center = next((cell.setting for cell in cells if not cell.varied), None)
    fixed = ", ".join(f"{axis} {getattr(center, axis)}" for axis in AXES if center and axis not in axes)
    notes = [*([f"All other axes: {fixed}."] if fixed else []), "The 95 % interval is over test images."]
    return Table(heading, header, [_grid_line(cell, axes) for cell in cells], [*notes, *sizes(cells[-1:])])


def _grid_line(cell: RecipeCell, axes: Sequence[str]) -> list[str]:
    start = [f"{getattr(cell.setting, axis)}" for axis in axes]
    (row,) = cell.rows
    if not isinstance(row, ScoredCellRow):
        return [*start, row["error"], "", "", "", ""]
    test = on_test(row)
    losses = [f"{split.negative_log_likelihood.mean:.3f}" for split in (row.train, test)]
    return [*start, percent(row.train.accuracy.mean), percent(test.accuracy.mean), interval(row), *losses]


def _position(cell: RecipeCell, axis: str) -> tuple[float, str]:
    """Sort key: numbers by size, freezing levels by how much they train, optimizers by name."""
    value = getattr(cell.setting, axis)
    if axis == "strategy":
        value = next((row.trainable_percent for row in scored(cell)), 0.0)
    return (float(value), "") if isinstance(value, int | float) else (0.0, str(value))


def _bullets(sentences: Sequence[str]) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)
