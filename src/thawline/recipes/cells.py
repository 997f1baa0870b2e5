"""The cells of a recipe: model x data set x setting, each a `Request`, at full size or cut down."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import PurePath
from typing import TypeVar

from thawline.config import BASE_RATE, DataConfig, Device, Optimizer, Request, TrainConfig, TuningConfig
from thawline.errors import OptionError
from thawline.ranges import first_fault
from thawline.recipes.recipe import Column, Recipe
from thawline.results import CellSetting

TEST_SHARE = 0.2
"""Fraction of train held out as test where the data has no test split: the tables of a study show test figures."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Overrides:
    """Changes to a recipe; empty or None = as the recipe says."""

    data: Sequence[str] = ()
    """The datasets to run, all others being left out: COLUMN=SOURCE, a COLUMN with its own source, or a SOURCE."""
    models: Sequence[str] = ()
    strategies: Sequence[str] = ()
    """The rows, or the first axis of a grid."""
    limit: int | None = None
    """Number of images of each dataset."""
    image_size: int | None = None
    epochs: int | None = None
    """Epochs of every training; a grid's axis of epochs ends here, and the schedule shrinks in proportion."""
    batch_size: int | None = None
    """Batch size at the center of a grid."""
    seeds: int | None = None
    seed: int | None = None
    threads: int | None = None
    device: Device | None = None
    weights: str | None = None
    full_grid: bool = False
    """Run every combination of a grid's axes instead of one axis at a time."""

    def __post_init__(self) -> None:
        if fault := first_fault(self):
            raise OptionError(f"`{fault.name}` {fault}")


@dataclass(frozen=True)
class GridPoint:
    """A value for every axis of a grid."""

    strategy: str
    learning_rate: float
    batch_size: int
    optimizer: Optimizer
    epochs: int


AXES = tuple(field.name for field in fields(GridPoint))
"""What a grid may vary."""


@dataclass(frozen=True)
class Cell:
    """One comparison of a study."""

    name: str
    """File name without ending."""
    request: Request
    setting: CellSetting
    varied: Sequence[str] = ()
    """Axes of the grid that are not at its center."""
    rate_from: Sequence[str] = ()
    """Strategies whose tuned rates set the base rate, as in `recipe.Rows`."""


@dataclass(frozen=True)
class Expansion:
    """The runs of a study."""

    cells: Sequence[Cell]
    notes: Sequence[str] = ()
    """What is left out, and how to include it."""


def expand(recipe: Recipe, overrides: Overrides | None = None) -> Expansion:
    """The cells of a study in the order of its tables; `OptionError` if nothing is left to run."""
    changes = overrides or Overrides()
    columns = _columns(recipe, changes.data)
    given = [column for column in columns if column.source]
    missing = [column.name for column in columns if not column.source]
    if not given:
        flags = " ".join(f"--data {name}=FOLDER" for name in missing)
        raise OptionError(
            f"the images of recipe {recipe.name!r} cannot be downloaded; give their folders with {flags}, or other "
            "images with --data FOLDER."
        )
    cells = [
        _cell(recipe, changes, column, model, point)
        for column in given
        for model in changes.models or ([column.model] if column.model else recipe.run.models)
        for point in points(recipe, changes)
    ]
    _refuse_equal_names(recipe, cells)
    return Expansion(tuple(cells), _left_out(recipe, columns, missing))


def _left_out(recipe: Recipe, columns: Sequence[Column], missing: Sequence[str]) -> tuple[str, ...]:
    """Datasets that cannot be run or were not named, a line for either kind."""
    named = [column.name for column in columns]
    others = [column.name for column in recipe.columns if column.name not in named]
    notes = [
        f"{name} is left out, because it cannot be downloaded: add --data {name}=FOLDER, and --data NAME for every "
        "other dataset that is to be run."
        for name in missing
    ]
    return (*notes, *([f"Not run, because --data does not name them: {', '.join(others)}."] if others else ()))


def label(source: str) -> str:
    """Name of a model or dataset in tables: the last part of its path or name, without the scheme before the colon."""
    return PurePath(source.rpartition(":")[2]).name or source


def _columns(recipe: Recipe, given: Sequence[str]) -> tuple[Column, ...]:
    if not given:
        return tuple(recipe.columns)
    columns = {column.name: column for column in recipe.columns}
    chosen: list[str] = []
    for entry in given:
        name, _, source = entry.partition("=")
        if not (source and name in columns):
            name, source = (entry, columns[entry].source) if entry in columns else (label(entry), entry)
        if name in chosen:
            raise OptionError(f"--data names {name!r} twice; rename one of the folders.")
        columns[name] = replace(columns.get(name, Column(name)), source=source)
        chosen.append(name)
    return tuple(columns[name] for name in chosen)


def points(recipe: Recipe, overrides: Overrides | None = None) -> Iterator[GridPoint | None]:
    """The points of a grid; None, once, for a study that is not a grid."""
    changes = overrides or Overrides()
    axes = recipe.axes
    if axes is None:
        yield None
        return
    center = _center(recipe, changes)
    values = (
        _with(center.strategy, changes.strategies or axes.strategy),
        _with(center.learning_rate, axes.learning_rate),
        _with(center.batch_size, axes.batch_size),
        _with(center.optimizer, axes.optimizer),
        _with(center.epochs, [count for count in axes.epochs if count <= _given(changes.epochs, count)]),
    )
    for combination in itertools.product(*values):
        point = GridPoint(*combination)
        if changes.full_grid or len(_varied(point, center)) <= 1:
            yield point


def _center(recipe: Recipe, changes: Overrides) -> GridPoint:
    return GridPoint(
        strategy=recipe.run.strategies[0],
        learning_rate=_given(recipe.run.learning_rate, BASE_RATE),  # `Recipe` requires it of a grid
        batch_size=_given(changes.batch_size, recipe.train.batch_size),
        optimizer=recipe.train.optimizer,
        epochs=_given(changes.epochs, recipe.train.epochs),
    )


def _given(value: Value | None, default: Value) -> Value:
    return default if value is None else value


def _with(center: Value, values: Sequence[Value]) -> Sequence[Value]:
    return values if center in values else [*values, center]


def _varied(point: GridPoint, center: GridPoint) -> tuple[str, ...]:
    return tuple(axis for axis in AXES if getattr(point, axis) != getattr(center, axis))


def _cell(recipe: Recipe, changes: Overrides, column: Column, model: str, point: GridPoint | None) -> Cell:
    request = Request(
        verb="compare",
        data=column.source,
        model=model,
        strategies=_strategies(recipe, changes, point),
        weights=changes.weights,
        granularity=recipe.run.granularity,
        train=_train(recipe, changes, point),
        images=_images(recipe, changes, column),
        search=TuningConfig(
            seeds=_given(changes.seeds, recipe.run.seeds),
            learning_rate=point.learning_rate if point else recipe.run.learning_rate,
            norm=recipe.run.norm,
        ),
    )
    setting = CellSetting(model=label(model), data=column.name, **(asdict(point) if point else {}))
    name = "--".join(re.sub(r"[^\w.=-]+", "-", f"{value}") for _, value in setting.items())
    varied = _varied(point, _center(recipe, changes)) if point else ()
    return Cell(name, request, setting, varied, recipe.run.rate_from)


def _strategies(recipe: Recipe, changes: Overrides, point: GridPoint | None) -> tuple[str, ...]:
    if point:
        return (point.strategy,)
    chosen = tuple(changes.strategies or recipe.run.strategies)
    recipe.refuse_rows(chosen)
    return chosen


def _train(recipe: Recipe, changes: Overrides, point: GridPoint | None) -> TrainConfig:
    train = recipe.train
    epochs = point.epochs if point else _given(changes.epochs, train.epochs)
    span = train.schedule_epochs
    return replace(
        train,
        epochs=epochs,
        # shortened in proportion, so that the rates fall as far as in the recipe
        schedule_epochs=None if span is None else round(span * epochs / train.epochs),
        batch_size=point.batch_size if point else _given(changes.batch_size, train.batch_size),
        optimizer=point.optimizer if point else train.optimizer,
        threads=_given(changes.threads, train.threads),
        device=_given(changes.device, train.device),
    )


def _images(recipe: Recipe, changes: Overrides, column: Column) -> DataConfig:
    images = column.images or recipe.images
    return replace(
        images,
        test_share=_given(images.test_share, TEST_SHARE),
        limit=_given(changes.limit, images.limit),
        image_size=_given(changes.image_size, images.image_size),
        seed=_given(changes.seed, images.seed),
    )


def _refuse_equal_names(recipe: Recipe, cells: Sequence[Cell]) -> None:
    names = [cell.name for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OptionError(f"recipe {recipe.name!r}: two cells would be called {twice!r}; rename a folder or model.")
