"""Published studies as data: what a recipe file says. `recipe_cells` says what is to be run for it."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from thawline.config import DataConfig, TrainConfig
from thawline.errors import OptionError
from thawline.plan import Granularity
from thawline.recipes.markdown import Table
from thawline.strategies.base import variants

Kind = Literal["accuracy", "data_share", "depth", "classes", "grid"]
"""Which tables are made: strategy x data; against the share of data; against that of layers; per class; per setting."""

AXES = ("strategy", "learning_rate", "batch_size", "optimizer", "epochs")
"""What a grid may vary."""

ROWS_OF_KIND: Mapping[str, tuple[str, str]] = {
    "data_share": ("biotune:folds=", "NUMBER"),
    "depth": ("depth:share=", "PERCENT"),
}
"""How the rows must begin, and what follows; kinds that are not here take any."""

Part = TypeVar("Part")


@dataclass(frozen=True)
class Paper:
    """What is repeated, and what must be known about it."""

    title: str
    authors: str
    reference: str
    year: int | None = None
    settings: Sequence[str] = ()
    """The paper's, one sentence each."""
    notes: Sequence[str] = ()
    """Where the paper contradicts itself, and where the recipe departs from it."""


@dataclass(frozen=True)
class Rows:
    """What is compared, and with which networks."""

    strategies: Sequence[str]
    models: Sequence[str]
    seeds: int = 1
    granularity: Granularity = "stage"
    learning_rate: float | None = None
    """One base rate for all rows; None = each row's is tuned on validation."""
    rate_from: Sequence[str] = ()
    """One base rate for all rows: the median of those that tuning finds for these strategies."""


@dataclass(frozen=True)
class Column:
    """A data set of the study."""

    name: str
    source: str = ""
    """What `compare` takes as data; empty = it cannot be downloaded and must be given."""
    model: str | None = None
    """The network for this data set; None = all of the study's."""
    images: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `DataConfig` that differ for this data set."""


@dataclass(frozen=True)
class Recipe:
    """A published study: its rows, columns, settings and expected figures."""

    name: str
    kind: Kind
    paper: Paper
    run: Rows
    train: TrainConfig
    images: DataConfig
    columns: Sequence[Column]
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Of a grid: its values; all other fields stand at what `run` and `train` say."""
    expected: Sequence[Table] = ()
    """As published."""

    def __post_init__(self) -> None:
        where = f"recipe {self.name!r}"
        if self.kind not in get_args(Kind):
            raise OptionError(f"{where}: kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}.")
        for spec in (*self.run.strategies, *self.run.rate_from, *self.axes.get("strategy", ())):
            variants(spec)
        if not (self.run.strategies and self.run.models and self.columns):
            raise OptionError(f"{where} needs at least one strategy, one model and one [[columns]].")
        self.refuse_rows(self.run.strategies)
        if bool(self.axes) != (self.kind == "grid"):
            raise OptionError(f"{where}: a grid needs [axes], and no other kind has them.")
        if self.kind == "grid" and (self.run.learning_rate is None or len(self.run.strategies) != 1):
            raise OptionError(f"{where}: a grid needs the one strategy and the learning_rate of its centre in [run].")

    def refuse_rows(self, strategies: Sequence[str]) -> None:
        """`OptionError` if the tables of this kind cannot show one of these rows."""
        start, argument = ROWS_OF_KIND.get(self.kind, ("", ""))
        if wrong := [spec for spec in strategies if not spec.startswith(start)]:
            raise OptionError(f"recipe {self.name!r}: its rows are {start}{argument}, got {wrong[0]!r}.")


def recipe_names() -> tuple[str, ...]:
    """The studies that come with thawline."""
    files = (path.name for path in _shipped().iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def load_recipe(name: str) -> Recipe:
    """A shipped study by its name, or one's own .toml file; `OptionError` if it is unknown or cannot be used."""
    own = Path(name)
    if own.suffix == ".toml" and own.is_file():
        return parse_recipe(own.read_text(encoding="utf-8"), name)
    if name not in recipe_names():
        raise OptionError(f"recipe {name!r} is unknown; {_hint(name, recipe_names())}")
    return parse_recipe(_shipped().joinpath(f"{name}.toml").read_text(encoding="utf-8"), name)


def parse_recipe(text: str, where: str) -> Recipe:
    """Read TOML; `OptionError` in one line for what is unknown, missing or out of range. `where` names the source."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"recipe {where!r} is not TOML ({error}).") from None
    sections = {
        **data,
        "paper": _part(Paper, data.get("paper", {}), f"{where}: [paper]"),
        "run": _part(Rows, data.get("run", {}), f"{where}: [run]"),
        "train": _part(TrainConfig, data.get("train", {}), f"{where}: [train]"),
        "images": _part(DataConfig, data.get("images", {}), f"{where}: [images]"),
        "columns": tuple(_column(one, f"{where}: [[columns]]") for one in data.get("columns", ())),
        "axes": _known(data.get("axes", {}), AXES, f"{where}: [axes]"),
        "expected": tuple(_part(Table, one, f"{where}: [[expected]]") for one in data.get("expected", ())),
    }
    return _part(Recipe, sections, where)


def _column(section: object, where: str) -> Column:
    column = _part(Column, section, where)
    _part(DataConfig, column.images, f"{where} {column.name}")
    return column


def _part(cls: type[Part], section: object, where: str) -> Part:
    known = [one.name for one in fields(cls)]  # type: ignore[arg-type]  # only dataclasses are parts
    try:
        return cls(**_known(section, known, where))
    except TypeError as error:
        raise OptionError(f"recipe {where} cannot be read ({error}).") from None


def _known(section: object, known: Sequence[str], where: str) -> Mapping[str, Any]:
    if not isinstance(section, Mapping):
        raise OptionError(f"recipe {where} must be a table of {', '.join(known)}; got {section!r}.")
    for key in section:
        if key not in known:
            raise OptionError(f"recipe {where}: {key!r} is unknown; {_hint(key, known)}")
    return section


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}."


def _shipped() -> Any:
    return resources.files("thawline") / "recipes"
