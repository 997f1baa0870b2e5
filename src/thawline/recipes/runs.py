"""Run the cells of a study one after the other, and keep what its tables need as one small JSON per cell."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from thawline.config import Request
from thawline.errors import RunError, RunFolderError
from thawline.recipes.cells import Cell, label
from thawline.recipes.recipe import Recipe
from thawline.records import FORMAT_VERSION, fingerprint, read_json, write_json

Execute = Callable[[Request, Path], Mapping[str, Any]]
"""Does what a request asks in a folder, or goes on with it there, and returns what comparison.json holds."""

_SCORES = ("train", "val", "test")


def run_cells(
    recipe: Recipe, cells: Sequence[Cell], out: Path, execute: Execute, *, runs: Path | None = None
) -> list[Mapping[str, Any]]:
    """`out`/CELL.json for every cell that has none yet; the comparisons behind them are in `runs` (`out`/runs).

    Interrupted at any moment, the same call goes on where it stopped. Raises `RunFolderError` if `out` holds a cell
    that was run with other settings.
    """
    results = []
    for cell in cells:
        path = out / f"{cell.name}.json"
        if not path.exists():
            _refuse_other(recipe, out)
            write_json(path, _run(recipe, cell, (runs or out / "runs") / cell.name, execute))
        stored = read_json(path)
        if stored.get("key") != _key(recipe, cell):
            raise RunFolderError(f"{path} was run with other settings; remove it, or choose another `out`.")
        results.append(stored)
    return results


def read_cells(recipe: Recipe, out: Path) -> list[Mapping[str, Any]]:
    """All cells of a study that are finished in `out`, by name."""
    stored = [read_json(path) for path in sorted(out.glob("*.json"))]
    return [one for one in stored if one.get("recipe") == recipe.name]


def decode_right(text: str, images: int) -> np.ndarray:
    """Which test images were right, [images] bool, from the hexadecimal digits of a cell's `test_right`."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=images)
    return bits.astype(bool)


def encode_right(right: Sequence[bool]) -> str:
    """The inverse of `decode_right`: four images a digit."""
    return np.packbits(np.asarray(right, bool)).tobytes().hex()


def kept(comparison: Mapping[str, Any], predictions: Path) -> dict[str, Any]:
    """What tables need of a comparison, without paths: a cell means the same on any machine."""
    request, data = comparison["request"], comparison["data"]
    right = _test_right(predictions)
    return {
        "environment": {name: value for name, value in comparison["environment"].items() if name != "command"},
        "model": {name: comparison["model"][name] for name in ("architecture", "weights_fingerprint")},
        "data": {name: data[name] for name in ("classes", "images", "fingerprint")},
        "request": {name: request[name] for name in ("granularity", "strategies", "train", "images", "search")},
        "rows": [_row(row, right.get(row["strategy"], [])) for row in comparison["rows"]],
    }


def _run(recipe: Recipe, cell: Cell, folder: Path, execute: Execute) -> dict[str, Any]:
    _begin(folder, _key(recipe, cell))
    request, tuned = cell.request, {}
    if cell.rate_from:
        search = replace(request.search, seeds=1, learning_rate=None)
        first = replace(request, strategies=tuple(cell.rate_from), search=search)
        tuned = {row["strategy"]: row["learning_rate"] for row in _sound(execute(first, folder / "rate"))}
        rates = sorted(tuned.values())
        request = replace(request, search=replace(request.search, learning_rate=rates[(len(rates) - 1) // 2]))
    comparison = execute(request, folder / "run")
    return {
        "format_version": FORMAT_VERSION,
        "recipe": recipe.name,
        "cell": cell.name,
        "setting": cell.setting.to_dict(),
        "varied": list(cell.varied),
        "key": _key(recipe, cell),
        "rates_tuned": tuned,
        **kept(comparison, folder / "run" / "predictions.csv"),
    }


def _begin(folder: Path, key: str) -> None:
    """Mark the cell's folder, so that comparisons begun with other settings are never gone on with."""
    mark = folder / "cell.json"
    if not mark.exists():
        write_json(mark, {"format_version": FORMAT_VERSION, "key": key})
    if read_json(mark).get("key") != key:
        raise RunFolderError(f"{folder} was begun with other settings; remove it, or choose another `out`.")


def _sound(comparison: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = comparison["rows"]
    if failed := [row for row in rows if row.get("error")]:
        raise RunError(f"no rate found for all rows: {failed[0]['strategy']}: {failed[0]['error']}")
    return rows


def _row(row: Mapping[str, Any], right: Sequence[str]) -> dict[str, Any]:
    if row.get("error"):
        return {"strategy": row["strategy"], "error": row["error"]}
    kept = ("strategy", "chosen", "learning_rate", "trainable_percent", "cost", "best_epochs", "versus_full")
    scores = {split: _without(row[split], "per_class") for split in _SCORES}
    search = {"search": _without(row["search"], "candidates")} if row.get("search") else {}
    return {**{name: row[name] for name in kept}, **scores, **search, "test_right": list(right)}


def _without(scores: Mapping[str, Any] | None, name: str) -> dict[str, Any] | None:
    return None if scores is None else {key: value for key, value in scores.items() if key != name}


def _test_right(path: Path) -> dict[str, list[str]]:
    """Row -> for every seed in order, which test images were right."""
    right: dict[tuple[str, str], list[bool]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        lines = csv.reader(stream)
        classes = next(lines)[5:]
        for row, seed, split, _, true, *probabilities in lines:
            if split == "test":
                predicted = classes[int(np.argmax([float(value) for value in probabilities]))]
                right.setdefault((row, seed), []).append(predicted == true)
    found: dict[str, list[str]] = {}
    for (row, _), images in right.items():
        found.setdefault(row, []).append(encode_right(images))
    return found


def _key(recipe: Recipe, cell: Cell) -> str:
    """Changes with every setting but the place of the files."""
    request = cell.request
    weights = request.weights and label(request.weights)
    moved = replace(request, data=label(request.data), model=label(request.model), weights=weights)
    return fingerprint(recipe.name, asdict(moved), list(cell.rate_from))


def _refuse_other(recipe: Recipe, out: Path) -> None:
    """A folder holds one study: the figures of two would be mixed up."""
    for path in out.glob("*.json"):
        other = read_json(path).get("recipe")
        if other != recipe.name:
            raise RunFolderError(f"{out} holds {path.name} of {other or 'something else'}; choose another `out`.")
