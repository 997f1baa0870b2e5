"""What came out of a study, in sentences: its strategies against full fine-tuning, and the best of each cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from thawline import verdicts
from thawline.formatting import counted, sentence
from thawline.recipes.architectures import across_in_words
from thawline.recipes.reading import on_test, scored, title
from thawline.recipes.recipe import Recipe
from thawline.recipes.tables import curve_of
from thawline.report.plan_words import base_rate
from thawline.results import RecipeCell, ScoredCellRow, Versus

UNFINISHED = "No cell of this study is finished yet."


def headline(recipe: Recipe, cells: Sequence[RecipeCell]) -> str:
    """One sentence about all cells together."""
    if not cells:
        return UNFINISHED
    against = _against_full(cells)
    if against:
        return f"Against full fine-tuning, in {counted(len(cells), 'comparison')}: {'; '.join(against)}."
    if recipe.kind == "grid":
        return f"Highest on validation: {_best_of_grid(cells)}"
    found = findings(recipe, cells)
    return found[0] if len(found) == 1 else f"{counted(len(cells), 'comparison')}; results for each are below."


def findings(recipe: Recipe, cells: Sequence[RecipeCell]) -> list[str]:
    """A sentence about every cell, with the interval of its best row; of a grid none, since a cell is a row there.

    Before them, in a study of several networks, one about every dataset.
    """
    if recipe.kind == "grid":
        return []
    networks = across_in_words(cells) if recipe.kind == "architectures" else []
    about = _depth if recipe.kind == "depth" else _best
    return networks + [f"{title(cell)}: {about(cell)}" for cell in cells if scored(cell)]


def _against_full(cells: Sequence[RecipeCell]) -> list[str]:
    """`lora is better on 1, worse on 0 and cannot be told apart on 2`."""
    found: dict[str, list[Versus]] = {}
    for row in (row for cell in cells for row in scored(cell)):
        if row.versus_full is not None and row.strategy != verdicts.REFERENCE:
            found.setdefault(row.strategy, []).append(row.versus_full)
    return [f"{strategy} is {_tally(versus)}" for strategy, versus in found.items()]


def _tally(found: Sequence[Versus]) -> str:
    told = [versus.difference for versus in found if verdicts.differs(versus)]
    better = sum(difference > 0 for difference in told)
    counts = {"better": better, "worse": len(told) - better, "not distinguishable": len(found) - len(told)}
    words = [f"{name} in {count}" for name, count in counts.items() if count]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _depth(cell: RecipeCell) -> str:
    rows = scored(cell)
    tests = [on_test(row) for row in rows]
    return verdicts.depth(curve_of(cell), tests, cell.data.images["test"], rows[0].train.accuracy.n)


def _best(cell: RecipeCell) -> str:
    row = _highest(scored(cell))
    images = cell.data.images["test"]
    if guess := verdicts.guessing(on_test(row)):
        return f"nothing to recommend: the best on validation, {row.strategy}, is {guess}."
    found = f"best on validation is {_named(row)}, {verdicts.measured(on_test(row), images)}."
    if row.versus_full is None or row.strategy == verdicts.REFERENCE:
        return found
    return f"{found} {sentence(verdicts.against_full(row.versus_full, images, on_test(row).accuracy.n))}"


def _best_of_grid(cells: Sequence[RecipeCell]) -> str:
    rows = {id(row): (cell, row) for cell in cells for row in scored(cell)}
    if not rows:
        return "nothing, every training failed."
    cell, row = rows[id(_highest(row for _, row in rows.values()))]
    setting = cell.setting
    axes = f"batch size {setting.batch_size}, {setting.optimizer}, up to {setting.epochs} epochs"
    measured = verdicts.measured(on_test(row), cell.data.images["test"])
    return f"{_named(row)}, {axes} ({title(cell)}): {measured}."


def _named(row: ScoredCellRow) -> str:
    return f"{row.strategy} at {base_rate(row)}" if row.learning_rate > 0 else row.strategy


def _highest(rows: Iterable[ScoredCellRow]) -> ScoredCellRow:
    return max(rows, key=lambda row: row.val.accuracy.mean)
