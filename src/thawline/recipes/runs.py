"""Run the cells of a study one after the other; each leaves one small JSON file with what the tables need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from thawline.config import Request
from thawline.errors import DataError, ModelError, PlanError, RunError, RunFolderError, ThawlineError
from thawline.recipes.cells import Cell, label
from thawline.recipes.recipe import Recipe
from thawline.records import FORMAT_VERSION, fingerprint, pack_bits, read_json, write_json
from thawline.report.plan_words import is_solved
from thawline.results import (
    CellData,
    CellFigures,
    Comparison,
    FailedCellRow,
    ModelFacts,
    RecipeCell,
    Row,
    ScoredCellRow,
    ScoredRow,
)
from thawline.runs.files import PREDICTIONS, REQUEST, read, read_predictions, read_test_right, write

Execute = Callable[[Request, Path], Comparison]
"""Runs a comparison in a folder, or resumes the one that is there."""

RECIPE = "recipe.toml"
"""A copy of the recipe, so that the page can be drawn again without the file that it came from."""
OWN_ERRORS = (DataError, ModelError, PlanError, RunError)
"""What may be wrong with one cell alone: its images, its network, a plan for that network, a training."""


def stop(cell: Cell, error: ThawlineError) -> None:
    """End the study at the first cell that fails."""
    raise error


def run_cells(
    recipe: Recipe,
    cells: Sequence[Cell],
    out: Path,
    execute: Execute,
    *,
    runs: Path | None = None,
    failed: Callable[[Cell, ThawlineError], None] = stop,
) -> list[RecipeCell]:
    """Write `out`/CELL.json for every cell that has none yet; the comparisons behind them are in `runs` (`out`/runs).

    After an interruption, the same call continues where it stopped. `failed` is told of a cell that fails for a reason
    of its own (`OWN_ERRORS`); unless it raises, the others go on. Raises `RunFolderError` if `out` has a cell that was
    run with other settings.
    """
    results = []
    for cell in cells:
        try:
            results.append(_finished(recipe, cell, out, runs or out / "runs", execute))
        except OWN_ERRORS as error:
            failed(cell, error)
    return results


def _finished(recipe: Recipe, cell: Cell, out: Path, runs: Path, execute: Execute) -> RecipeCell:
    """The cell as it is stored in `out`; it is run if it is not there."""
    path = out / f"{cell.name}.json"
    if not path.exists():
        _refuse_other(recipe, out)
        write(path, _run(recipe, cell, runs / cell.name, execute))
    stored = read(path, RecipeCell)
    if stored.key != _key(recipe, cell):
        raise RunFolderError(f"{path} was run with other settings; remove it, or choose another `out`.")
    return stored


def read_cells(recipe: Recipe, out: Path) -> list[RecipeCell]:
    """All finished cells of a study in `out`, by name."""
    return [read(path, RecipeCell) for path in sorted(out.glob("*.json")) if recipe_of(path) == recipe.name]


def is_study(folder: Path) -> bool:
    """Whether `compare --recipe` wrote the folder."""
    if (folder / REQUEST).exists() or not folder.is_dir():
        return False
    return (folder / RECIPE).is_file() or name_of_study(folder) is not None


def name_of_study(folder: Path) -> str | None:
    """The recipe of the cells that an older version left without a copy."""
    found = (recipe_of(path) for path in sorted(folder.glob("*.json")))
    return next((name for name in found if isinstance(name, str)), None)


def figures_of(comparison: Comparison, predictions: Path) -> CellFigures:
    """What the tables need of a comparison, without paths: a cell means the same on any machine."""
    right = {row: [*map(pack_bits, seeds)] for row, seeds in read_test_right(predictions).items()}
    data, model = comparison.data, comparison.pretrained
    decisive = ("granularity", "strategies", "train", "images", "search")
    return CellFigures(
        environment=replace(comparison.environment, command=None),
        model=ModelFacts(architecture=model.architecture, weights_fingerprint=model.weights_fingerprint),
        data=CellData(
            classes=data.classes,
            images=data.images,
            fingerprint=data.fingerprint,
            test_images=_test_images(predictions, comparison.seed),
        ),
        request={name: comparison.request[name] for name in decisive},
        rows=[_row(row, right.get(row.strategy, [])) for row in comparison.rows],
    )


def _test_images(predictions: Path, seed: int) -> str:
    """Fingerprint of the test images, in the order of the predictions of the first row."""
    lines = [line for line in read_predictions(predictions, seed=seed) if line.split == "test"]
    return fingerprint([(line.path, line.true) for line in lines if line.row == lines[0].row])


def _run(recipe: Recipe, cell: Cell, folder: Path, execute: Execute) -> RecipeCell:
    _begin(folder, _key(recipe, cell))
    request, tuned = cell.request, dict[str, float]()
    if cell.rate_from:
        tuned = _tuned_rates(cell, folder, execute)
        rates = sorted(tuned.values())
        request = replace(request, search=replace(request.search, learning_rate=rates[(len(rates) - 1) // 2]))
    figures = figures_of(execute(request, folder / "run"), folder / "run" / PREDICTIONS)
    return RecipeCell(
        format_version=FORMAT_VERSION,
        recipe=recipe.name,
        cell=cell.name,
        setting=cell.setting,
        varied=list(cell.varied),
        key=_key(recipe, cell),
        rates_tuned=tuned,
        environment=figures.environment,
        model=figures.model,
        data=figures.data,
        request=figures.request,
        rows=figures.rows,
    )


def _tuned_rates(cell: Cell, folder: Path, execute: Execute) -> dict[str, float]:
    """The rate that tuning finds for each strategy of `rate_from`; `RunError` if one of them failed, or has none."""
    search = replace(cell.request.search, seeds=1, learning_rate=None)
    request = replace(cell.request, strategies=tuple(cell.rate_from), search=search)
    rates = {}
    for row in execute(request, folder / "rate").rows:
        if not isinstance(row, ScoredRow):
            raise RunError(f"no rate found for all rows: {row.strategy}: {row['error']}")
        if is_solved(row):
            raise RunError(
                f"no rate found for all rows: {row.strategy} is solved and has none; take it out of `rate_from`."
            )
        rates[row.strategy] = row.learning_rate
    return rates


def _begin(folder: Path, key: str) -> None:
    """Mark the cell's folder, so that comparisons begun with other settings are never continued.

    A comparison whose input was refused leaves only the mark, which then stands in nobody's way.
    """
    mark = folder / "cell.json"
    if not mark.exists() or not any(path.is_dir() for path in folder.iterdir()):
        write_json(mark, {"format_version": FORMAT_VERSION, "key": key})
    if _stored(mark, "key") != key:
        raise RunFolderError(f"{folder} was started with other settings; remove it, or choose another `out`.")


def _row(row: Row, right: Sequence[str]) -> Row:
    if not isinstance(row, ScoredRow):
        return FailedCellRow(strategy=row.strategy, error=row["error"])
    return ScoredCellRow(
        strategy=row.strategy,
        chosen=row.chosen,
        learning_rate=row.learning_rate,
        batch_norm=row.batch_norm,
        probe_strength=row.probe_strength,
        trainable_percent=row.trainable_percent,
        cost=row.cost,
        best_epochs=row.best_epochs,
        versus_full=row.versus_full,
        train=row.train,
        val=row.val,
        test=replace(row.test, per_class=None) if row.test else None,
        search=replace(row.search, candidates=None) if row.search else None,
        nearest_neighbors=row.nearest_neighbors,
        test_right=list(right),
    )


def _key(recipe: Recipe, cell: Cell) -> str:
    """Changes with every setting but the place of the files."""
    request = cell.request
    weights = request.weights and label(request.weights)
    placeless = replace(request, data=label(request.data), model=label(request.model), weights=weights)
    settings = asdict(placeless)
    if request.images.bit_depth == "auto":
        del settings["images"]["bit_depth"]  # as before there was the option: studies that were begun go on
    return fingerprint(recipe.name, settings, list(cell.rate_from))


def _refuse_other(recipe: Recipe, out: Path) -> None:
    """A folder holds one study: the figures of two would be mixed up."""
    for path in out.glob("*.json"):
        other = recipe_of(path)
        if other != recipe.name:
            raise RunFolderError(f"{out} holds {path.name} of {other or 'something else'}; choose another `out`.")


def recipe_of(path: Path) -> object:
    """The name of the recipe that a cell belongs to; None for another file."""
    return _stored(path, "recipe")


def _stored(path: Path, name: str) -> object:
    stored = read_json(path)
    return stored.get(name) if isinstance(stored, dict) else None
