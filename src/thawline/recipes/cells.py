"""From a recipe to its cells: model x data set x setting, each one `Request`, at full size or cut down."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from thawline.config import DataConfig, Device, Request, TrainConfig, TuningConfig
from thawline.errors import OptionError
from thawline.recipes.recipe import AXES, Column, Recipe

TEST_SHARE = 0.2
"""Carved off train where the data brings none: the tables of a study are made of test figures."""


@dataclass(frozen=True)
class Overrides:
    """What is run instead of what the paper ran; empty or None = as the recipe says."""

    data: Sequence[str] = ()
    """COLUMN=SOURCE says where a data set of the recipe is; a bare COLUMN or SOURCE leaves out all others."""
    models: Sequence[str] = ()
    strategies: Sequence[str] = ()
    """Rows, or the first axis of a grid."""
    limit: int | None = None
    """Images of each data set."""
    image_size: int | None = None
    epochs: int | None = None
    """Of every training; a grid's axis of epochs ends here, and a longer schedule shrinks in proportion."""
    batch_size: int | None = None
    """Of the centre, in a grid."""
    seeds: int | None = None
    seed: int | None = None
    threads: int | None = None
    device: Device | None = None
    weights: str | None = None
    full_grid: bool = False
    """Every combination of a grid's axes instead of one axis at a time."""


@dataclass(frozen=True)
class Cell:
    """One comparison of a study."""

    name: str
    """File name without ending."""
    request: Request
    setting: Mapping[str, Any]
    """model and data as the tables call them, and the values of a grid's axes."""
    varied: Sequence[str] = ()
    """Axes of a grid that are not at its centre."""
    rate_from: Sequence[str] = ()
    """As in `recipes.Rows`: settled before the request is run."""


@dataclass(frozen=True)
class Expansion:
    """All that is to be run."""

    cells: Sequence[Cell]
    notes: Sequence[str] = ()
    """What is left out, and how to get it in."""


def expand(recipe: Recipe, overrides: Overrides | None = None) -> Expansion:
    """The cells of a study in the order of its tables; `OptionError` if nothing is left to run."""
    changes = overrides or Overrides()
    columns = _columns(recipe, changes.data)
    given = [column for column in columns if column.source]
    missing = [column.name for column in columns if not column.source]
    if not given:
        ways = " ".join(f"--data {name}=FOLDER" for name in missing)
        raise OptionError(
            f"recipe {recipe.name!r} cannot download its images; give them with {ways}, or --data FOLDER."
        )
    cells = [
        _cell(recipe, changes, column, model, values, varied)
        for column in given
        for model in changes.models or ([column.model] if column.model else recipe.run.models)
        for values, varied in _settings(recipe, changes)
    ]
    _refuse_equal_names(recipe, cells)
    return Expansion(tuple(cells), tuple(f"{name} is left out: it needs --data {name}=FOLDER." for name in missing))


def label(source: str) -> str:
    """What tables call a model or data set: the last part of a path or name, without the scheme before the colon."""
    return PurePath(source.rpartition(":")[2]).name or source


def _columns(recipe: Recipe, given: Sequence[str]) -> tuple[Column, ...]:
    columns = {column.name: column for column in recipe.columns}
    chosen: list[str] = []
    everything = True
    for entry in given:
        name, _, source = entry.partition("=")
        if not (source and name in columns):
            everything = False
            name, source = (entry, columns[entry].source) if entry in columns else (label(entry), entry)
        if name in chosen:
            raise OptionError(f"--data names {name!r} twice; rename one of the folders.")
        columns[name] = replace(columns.get(name, Column(name)), source=source)
        chosen.append(name)
    return tuple(columns.values()) if everything else tuple(columns[name] for name in chosen)


def _settings(recipe: Recipe, changes: Overrides) -> Iterator[tuple[Mapping[str, Any], Sequence[str]]]:
    """Axis values of every cell, and which of them are off the centre; one empty setting where there is no grid."""
    if not recipe.axes:
        yield {}, ()
        return
    centre = _centre(recipe, changes)
    axes = {axis: _values(axis, recipe, changes, centre[axis]) for axis in AXES}
    for combination in itertools.product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        varied = tuple(axis for axis in AXES if values[axis] != centre[axis])
        if changes.full_grid or len(varied) <= 1:
            yield values, varied


def _centre(recipe: Recipe, changes: Overrides) -> dict[str, Any]:
    return {
        "strategy": recipe.run.strategies[0],
        "learning_rate": recipe.run.learning_rate,
        "batch_size": changes.batch_size or recipe.train.batch_size,
        "optimizer": recipe.train.optimizer,
        "epochs": changes.epochs or recipe.train.epochs,
    }


def _values(axis: str, recipe: Recipe, changes: Overrides, centre: Any) -> list[Any]:
    values = list(recipe.axes.get(axis, ()))
    if axis == "strategy" and changes.strategies:
        values = list(changes.strategies)
    if axis == "epochs" and changes.epochs is not None:
        values = [value for value in values if value <= changes.epochs]
    return values if centre in values else [*values, centre]


def _cell(
    recipe: Recipe, changes: Overrides, column: Column, model: str, values: Mapping[str, Any], varied: Sequence[str]
) -> Cell:
    request = Request(
        verb="compare",
        data=column.source,
        model=model,
        strategies=_strategies(recipe, changes, values),
        weights=changes.weights,
        granularity=recipe.run.granularity,
        train=_train(recipe, changes, values),
        images=_images(recipe, changes, column),
        search=TuningConfig(
            seeds=changes.seeds or recipe.run.seeds,
            learning_rate=values.get("learning_rate", recipe.run.learning_rate),
        ),
    )
    setting = {"model": label(model), "data": column.name, **values}
    name = "--".join(re.sub(r"[^\w.=-]+", "-", f"{value}") for value in setting.values())
    return Cell(name, request, setting, varied, recipe.run.rate_from)


def _strategies(recipe: Recipe, changes: Overrides, values: Mapping[str, Any]) -> tuple[str, ...]:
    if "strategy" in values:
        return (values["strategy"],)
    chosen = tuple(changes.strategies or recipe.run.strategies)
    recipe.refuse_rows(chosen)
    return chosen


def _train(recipe: Recipe, changes: Overrides, values: Mapping[str, Any]) -> TrainConfig:
    own = {axis: values[axis] for axis in ("batch_size", "optimizer", "epochs") if axis in values}
    names = ("epochs", "batch_size", "threads", "device")
    given = {name: value for name in names if (value := getattr(changes, name)) is not None}
    chosen = {**given, **own}
    epochs, span = chosen.get("epochs", recipe.train.epochs), recipe.train.schedule_epochs
    if span is not None:  # the rates fall as far as in the recipe
        chosen["schedule_epochs"] = round(span * epochs / recipe.train.epochs)
    return replace(recipe.train, **chosen)


def _images(recipe: Recipe, changes: Overrides, column: Column) -> DataConfig:
    given: dict[str, Any] = {"limit": changes.limit, "image_size": changes.image_size, "seed": changes.seed}
    changed = {name: value for name, value in given.items() if value is not None}
    own = {"test_share": recipe.images.test_share or TEST_SHARE, **column.images, **changed}
    return replace(recipe.images, **own)


def _refuse_equal_names(recipe: Recipe, cells: Sequence[Cell]) -> None:
    names = [cell.name for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OptionError(f"recipe {recipe.name!r}: two cells would be called {twice!r}; rename a folder or model.")
