"""Published studies as data: what a recipe file says. `cells` says which runs a recipe expands to."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from thawline.config import DataConfig, Norm, Optimizer, TrainConfig
from thawline.errors import OptionError
from thawline.plan import Granularity
from thawline.reading import read_regular
from thawline.strategies.base import variants

Kind = Literal["accuracy", "architectures", "data_share", "depth", "classes", "grid"]
"""Which tables are made: strategy x data for each network; strategy x network for each dataset; by share of
the data; by share of the layers; by class; by setting."""

ROWS_OF_KIND: Mapping[str, tuple[str, str]] = {
    "data_share": ("biotune:folds=", "NUMBER"),
    "depth": ("depth:share=", "PERCENT"),
}
"""What the rows must begin with, and what follows; kinds not listed here take any rows."""

Part = TypeVar("Part")


@dataclass(frozen=True)
class Paper:
    """The study that is repeated, and what to know about it."""

    title: str
    authors: str
    reference: str
    year: int | None = None
    settings: Sequence[str] = ()
    """The settings of the paper, one sentence each."""
    notes: Sequence[str] = ()
    """Contradictions in the paper, and where the recipe departs from it, one sentence each."""


@dataclass(frozen=True)
class Rows:
    """The strategies compared, and the networks they are compared on."""

    strategies: Sequence[str]
    models: Sequence[str]
    seeds: int = 1
    granularity: Granularity = "stage"
    learning_rate: float | None = None
    """One base rate for all rows; None = tuned on validation for each row."""
    rate_from: Sequence[str] = ()
    """One base rate for all rows: the median of those that tuning finds for these strategies."""
    norm: Norm = "moving"
    """Batch norm of trained blocks; the default is what frameworks do unless told otherwise."""


@dataclass(frozen=True)
class Column:
    """A dataset of the study."""

    name: str
    source: str = ""
    """The `data` of `compare`; empty = it cannot be downloaded and must be given."""
    model: str | None = None
    """The network for this dataset; None = every network of the study."""
    images: DataConfig | None = None
    """Settings for this dataset, None = the study's; the file lists only the fields that differ from the study's."""


@dataclass(frozen=True)
class Axes:
    """Values that a grid tries; an axis without values stays at the center of the grid."""

    strategy: Sequence[str] = ()
    learning_rate: Sequence[float] = ()
    batch_size: Sequence[int] = ()
    optimizer: Sequence[Optimizer] = ()
    epochs: Sequence[int] = ()


@dataclass(frozen=True)
class Table:
    """A table of text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    """How to read it, one sentence each."""

    def to_markdown(self) -> str:
        """Heading, pipe table and notes."""
        lines = [f"### {self.title}", "", _pipes(self.columns), _pipes(["---"] * len(self.columns))]
        lines += [_pipes(row) for row in self.rows]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


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
    axes: Axes | None = None
    """What a grid varies; None for other kinds."""
    expected: Sequence[Table] = ()
    """The published tables."""

    def __post_init__(self) -> None:
        where = f"recipe {self.name!r}"
        for spec in (*self.run.strategies, *self.run.rate_from, *(self.axes.strategy if self.axes else ())):
            variants(spec)
        if not (self.run.strategies and self.run.models and self.columns):
            raise OptionError(f"{where} needs at least one strategy, one model and one [[columns]].")
        self.refuse_rows(self.run.strategies)
        if bool(self.axes) != (self.kind == "grid"):
            raise OptionError(f"{where}: a grid needs [axes], and no other kind has them.")
        if self.kind == "grid" and (self.run.learning_rate is None or len(self.run.strategies) != 1):
            raise OptionError(f"{where}: a grid needs the one strategy and the learning_rate of its center in [run].")

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
    """Load a shipped study by name, or a .toml file; `OptionError` if it is unknown or cannot be used."""
    return parse_recipe(recipe_text(name), name)


def recipe_text(name: str) -> str:
    """The file of a shipped study by name, or a .toml file; `OptionError` if it is unknown or cannot be read."""
    own = Path(name)
    if own.suffix == ".toml" and own.is_file():
        return _text(own)
    if name not in recipe_names():
        raise OptionError(f"recipe {name!r} is unknown; {_hint(name, recipe_names())}")
    return _shipped().joinpath(f"{name}.toml").read_text(encoding="utf-8")


def _text(path: Path) -> str:
    try:
        return read_regular(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"recipe {str(path)!r} cannot be read ({error}); it must be a UTF-8 text file.") from error


def parse_recipe(text: str, where: str) -> Recipe:
    """Parse TOML from the source `where`; `OptionError` of one line for unknown, missing or invalid entries."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits, too
        raise OptionError(f"recipe {where!r} is not valid TOML ({' '.join(str(error).split())}).") from None
    images = data.get("images", {})
    sections = {
        **data,
        "paper": _part(Paper, data.get("paper", {}), f"{where}: [paper]"),
        "run": _part(Rows, data.get("run", {}), f"{where}: [run]"),
        "train": _part(TrainConfig, data.get("train", {}), f"{where}: [train]"),
        "images": _part(DataConfig, images, f"{where}: [images]"),
        "columns": [_column(section, images, f"{where}: [[columns]]") for section in _listed(data.get("columns", []))],
        "axes": _part(Axes, data["axes"], f"{where}: [axes]") if "axes" in data else None,
        "expected": [_part(Table, section, f"{where}: [[expected]]") for section in _listed(data.get("expected", []))],
    }
    return _part(Recipe, sections, f"{where}:")


def _listed(sections: object) -> Sequence[object]:
    """A value that is not a list becomes a list of one, so that `_part` can report what is wrong with it."""
    return sections if isinstance(sections, list) else [sections]


def _column(section: object, images: Mapping[str, object], where: str) -> Column:
    if not (isinstance(section, Mapping) and "images" in section):
        return _part(Column, section, where)
    own = section["images"]
    merged = {**images, **own} if isinstance(own, Mapping) else own
    return _part(Column, {**section, "images": _part(DataConfig, merged, f"{where} {section.get('name')}")}, where)


def _part(cls: type[Part], section: object, where: str) -> Part:
    """Convert a section of the file to its dataclass."""
    known = fields(cls)  # type: ignore[arg-type]  # only dataclasses are parts
    names = [field.name for field in known]
    if not isinstance(section, Mapping):
        raise OptionError(f"recipe {where} must be a table of {', '.join(names)}; got {section!r}.")
    if unknown := [key for key in section if key not in names]:
        raise OptionError(f"recipe {where} {unknown[0]!r} is unknown; {_hint(unknown[0], names)}")
    required = [field.name for field in known if field.default is MISSING and field.default_factory is MISSING]
    if missing := [name for name in required if name not in section]:
        raise OptionError(f"recipe {where} {', '.join(missing)} missing.")
    try:
        return msgspec.convert(section, cls)
    except msgspec.ValidationError as error:
        raise _refusal(cls, error, where) from None


def _refusal(cls: type, error: msgspec.ValidationError, where: str) -> OptionError:
    """The error of the dataclass itself, or one that names the field with a wrong type."""
    if isinstance(error.__cause__, OptionError):
        return error.__cause__
    message, _, place = str(error).partition(" - at `$.")
    name = place.rstrip("`")
    choices = get_type_hints(cls).get(name)
    hint = f"; choose from {', '.join(get_args(choices))}" if get_origin(choices) is Literal else ""
    return OptionError(f"recipe {where} {name}: {message[0].lower()}{message[1:]}{hint}.")


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}."


def _shipped() -> Traversable:
    return resources.files("thawline") / "recipes"
