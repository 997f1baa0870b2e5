"""The files of a run: their names, and one reader and one writer for each, with types checked."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TypeVar

import msgspec

from thawline.config import Request
from thawline.errors import DataError, OptionError, PlanError, RunFolderError
from thawline.plan import FineTunePlan
from thawline.reading import open_regular, read_regular
from thawline.records import (
    FORMAT_VERSION,
    LARGEST_JSON,
    RUN_FILES,
    TrainingRecord,
    encoded,
    furthest,
    json_bytes,
    read_json,
)
from thawline.report.explained import MAP_SIDE, files_of, shown_images
from thawline.report.plan_words import batch_norm_in_words, head_in_words
from thawline.report.predictions import Guess, Predictions
from thawline.report.reading import Run
from thawline.report.thumbnails import SIDE, data_uri, small_picture
from thawline.results import (
    CheckResult,
    Comparison,
    Explanation,
    FailedCellRow,
    FailedRow,
    FitResults,
    Result,
    Row,
    RunFacts,
    ScoredCellRow,
    ScoredRow,
    Thumbnails,
)
from thawline.runs.sealed import is_expected, proved, publish
from thawline.spreadsheet import csv_text, read_rows

REQUEST, LEDGER = RUN_FILES
CONFIG = "config.toml"
"""The request as a file for --config."""
CHECK = "check.json"
SPLITS = "splits.csv"
PLAN = "plan.json"
RESULTS = {"fit": "results.json", "compare": "comparison.json"}
HISTORY = "history.csv"
PREDICTIONS = "predictions.csv"
TABLE = "comparison.csv"
THUMBNAILS = "thumbnails.json"
EXPLANATION = "explain.json"
EXPLANATION_FOLDER = "explain"
"""Folder of the pictures and the page of an explanation."""
EVALUATION_LOG = "evaluations.json"
EVALUATIONS = "evaluations"
"""Folder of the class probabilities of every final training."""
CHECKPOINTS = "checkpoints"
"""Folder of the weights of final trainings, until the run is finished."""
MODELS = "models.json"
"""Which network was chosen, and how."""
MODELS_FOLDER = "models"
"""Folder of the run folders in which networks were compared."""
MODEL = "model"
"""Folder of the trained model."""
REPORT = "report.html"
REPORT_ERROR = "report-error.txt"

T = TypeVar("T", bound=Result)
_SPLIT_COLUMNS = ("path", "label", "split")
_SPLITS = ("train", "val", "test", "")
_PREDICTION_COLUMNS = ("row", "seed", "split", "path", "true")
"""Columns of predictions.csv; the probability of every class follows."""
_HISTORY_COLUMNS = ("strategy", "purpose", "learning_rate", "seed", "epoch", "train_loss", "val_loss", "val_accuracy")
_CHOICE = ("strategy", "chosen", "learning_rate", "batch_norm", "head_start", "probe_strength", "trainable_percent")
_COSTS = ("work", "proof", "refit", "trainings", "seconds", "image_passes", "peak_memory_bytes")
_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "negative_log_likelihood", "calibration_error")
_SPREAD = ("standard_error", "n")
"""Columns for the spread of the accuracy over seeds."""
_TABLE_COLUMNS = (
    *_CHOICE,
    *(f"{split}_{name}" for split in ("train", "val", "test") for name in (*_METRICS, *_SPREAD)),
    *("test_low95", "test_high95", "train_test_gap"),
    *("nearest_neighbors_val", "nearest_neighbors_test"),
    *("difference_to_full", "difference_low95", "difference_high95", "p_holm"),
    *_COSTS,
    "error",
)
_NETWORK_COLUMNS = ("network", "difference_to_best", "best_low95", "best_high95", "best_p_holm")
"""Columns of a comparison of several networks, before all others."""


def read(path: Path, kind: type[T]) -> T:
    """A JSON file of a run as `kind`; `RunFolderError` names the file, the key and what was expected there."""
    stored = read_json(proved(path))
    version = stored.get("format_version") if isinstance(stored, dict) else None
    if version != FORMAT_VERSION:
        raise RunFolderError(f"{path} has format_version {version!r}; this thawline reads {FORMAT_VERSION}.")
    try:
        found = decode(stored, kind)
        if isinstance(found, RunFacts):
            Request.from_dict(found.request)
        return found
    except msgspec.ValidationError as error:
        raise RunFolderError(f"{path} is damaged, or from another version of thawline: {_in_words(error)}.") from error
    except OptionError as error:
        raise RunFolderError(f"{path} is damaged, or from another version of thawline: {error}") from error


def decode(stored: object, kind: type[T]) -> T:
    """Plain JSON types as a result; `msgspec.ValidationError` says where they do not fit."""
    if isinstance(stored, dict):
        names = {str(each.metadata.get("key", each.name)): each.name for each in fields(kind)}
        stored = {names.get(key, key): value for key, value in stored.items()}
    return msgspec.convert(stored, kind, dec_hook=_row)


def write(path: Path, result: Result) -> None:
    """Write a JSON file of a run, and its digest."""
    publish(path, json_bytes(result))


def read_if_there(path: Path, kind: type[T]) -> T | None:
    """`read`, or None if the file does not exist."""
    return read(path, kind) if is_expected(path) else None


def read_results(folder: Path) -> FitResults | Comparison:
    """What a finished run found; `RunFolderError` if it is unfinished or not a run."""
    if os.path.lexists(folder / RESULTS["fit"]):
        return read(folder / RESULTS["fit"], FitResults)
    if os.path.lexists(folder / RESULTS["compare"]):
        return read(folder / RESULTS["compare"], Comparison)
    if (folder / REQUEST).is_file():
        raise RunFolderError(f"{folder} is not finished; `thawline resume {folder}` finishes it.")
    raise RunFolderError(f"{folder} is not a run folder ({REQUEST} is missing).")


def _row(kind: type, stored: object) -> Row:
    """Rows are of two kinds, and those of a recipe's cells of two others."""
    if kind is not Row:
        raise NotImplementedError(kind)
    if not isinstance(stored, dict):
        raise msgspec.ValidationError(f"Expected `object`, got `{type(stored).__name__}` - at a row")
    try:
        return decode(stored, _kind_of_row(stored))
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{error} of row {stored.get('strategy')!r}") from error


def _kind_of_row(stored: Mapping[str, object]) -> type[Row]:
    if "error" in stored:
        return FailedRow if "versus_full" in stored else FailedCellRow
    return ScoredCellRow if "test_right" in stored else ScoredRow


def _in_words(error: msgspec.ValidationError) -> str:
    what, _, where = str(error).partition(" - at ")
    return f"{where or 'the whole file'}: {what[0].lower()}{what[1:]}"


@dataclass(frozen=True)
class SplitLine:
    """One image in splits.csv."""

    path: str
    """Relative to the data."""
    label: str
    split: str
    """train, val or test; empty = left out."""


def write_splits(path: Path, lines: Iterable[SplitLine]) -> None:
    """Write splits.csv."""
    rows = ((line.path, line.label, line.split) for line in lines)
    publish(path, encoded(csv_text(_SPLIT_COLUMNS, rows, ending="\n")))


def read_splits(path: Path) -> list[SplitLine]:
    """Every image that the run knew; `RunFolderError` if the file is damaged."""
    rows = [row for _, row in _rows(path)]
    if tuple(rows[0] if rows else ()) != _SPLIT_COLUMNS:
        raise RunFolderError(f"{path} is damaged: expected the columns {', '.join(_SPLIT_COLUMNS)}.")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(_SPLIT_COLUMNS) or row[-1] not in _SPLITS:
            raise RunFolderError(f"{path} is damaged in row {number}: expected a path, a label and a split.")
    return [SplitLine(*row) for row in rows[1:]]


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of a table, the header first; `RunFolderError` if it cannot be read."""
    try:
        content = BufferedReader(open_regular(proved(path)))
        with TextIOWrapper(content, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            yield from read_rows(stream)
    except (OSError, csv.Error) as error:
        raise RunFolderError(f"{path} cannot be read ({error}); restore it from a copy.") from error


@dataclass(frozen=True)
class PredictionLine:
    """One image in predictions.csv, by the model of one row and seed."""

    row: str
    """The strategy as asked for."""
    seed: int
    split: str
    """val or test."""
    path: str
    """Relative to the data."""
    true: int
    """Position of the class."""
    probabilities: Sequence[float]
    """Probability of each class, 0 to 1."""

    @property
    def predicted(self) -> int:
        """Position of the likeliest class, the first of equals."""
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)


def write_predictions(path: Path, classes: Sequence[str], lines: Iterable[PredictionLine]) -> None:
    """Write predictions.csv: one line per row, seed and image."""
    rows = (
        (line.row, line.seed, line.split, line.path, classes[line.true], *(f"{p:.6f}" for p in line.probabilities))
        for line in lines
    )
    publish(path, encoded(csv_text((*_PREDICTION_COLUMNS, *classes), rows)))


def read_predictions(path: Path, row: str | None = None, seed: int | None = None) -> Iterator[PredictionLine]:
    """The lines of predictions.csv, or those of one row or seed; `RunFolderError` if the file is damaged."""
    lines = _rows(path)
    classes = {name: number for number, name in enumerate(_classes(next(lines, (0, []))[1]))}
    for number, line in lines:
        if (row is None or line[:1] == [row]) and (seed is None or line[1:2] == [str(seed)]):
            try:
                yield _prediction(line, classes)
            except (LookupError, ValueError) as error:
                raise RunFolderError(f"{path} is damaged in line {number} ({error}).") from error


def read_test_right(path: Path) -> dict[str, list[list[bool]]]:
    """Row -> for every seed in order, which test images it got right, in the order of the images."""
    right: dict[tuple[str, int], list[bool]] = {}
    for line in read_predictions(path):
        if line.split == "test":
            right.setdefault((line.row, line.seed), []).append(line.predicted == line.true)
    found: dict[str, list[list[bool]]] = {}
    for (row, _), images in right.items():
        found.setdefault(row, []).append(images)
    return found


def _prediction(line: Sequence[str], classes: Mapping[str, int]) -> PredictionLine:
    """Raises `LookupError` or `ValueError` for what does not fit."""
    row, seed, split, path, true, *shares = line
    values = [float(share) for share in shares]
    if split not in _SPLITS[1:3] or len(values) != len(classes) or not all(0 <= value <= 1 for value in values):
        raise ValueError(f"expected val or test, and {len(classes)} probabilities")
    return PredictionLine(row, int(seed), split, path, classes[true], values)


def prediction_classes(path: Path) -> tuple[str, ...]:
    """The classes of predictions.csv in the order of its columns."""
    return _classes(next(_rows(path), (0, []))[1])


def _classes(header: Sequence[str]) -> tuple[str, ...]:
    return tuple(header[len(_PREDICTION_COLUMNS) :])


def write_plan(path: Path, plan: FineTunePlan) -> None:
    """Write plan.json."""
    publish(path, encoded(plan.to_json() + "\n"))


def read_plan(path: Path) -> FineTunePlan:
    """The plan of a `fit`, or its best so far; `RunFolderError` if the file is damaged."""
    try:
        return FineTunePlan.from_dict(read_json(proved(path)))
    except PlanError as error:
        raise RunFolderError(f"{path} is damaged ({error}); restore it from a copy.") from error


def find_plan(path: Path) -> FineTunePlan:
    """The plan in a file such as plan.json, or of a run folder; `PlanError` if there is none, or it is invalid."""
    file = path / PLAN if path.is_dir() else path
    if not file.is_file():
        raise PlanError(f"`plan` {path}: {file} does not exist; give a plan.json, or the folder of a `fit` run.")
    return FineTunePlan.from_json(read_regular(file, LARGEST_JSON).decode(errors="replace"))


def write_history(path: Path, records: Iterable[TrainingRecord]) -> None:
    """Write history.csv: one line per epoch of every training, epochs from 1; one of a solved probe, without a rate.

    Those of a refit have a training loss alone.
    """
    rows = (
        (*(record.strategy, record.purpose, record.learning_rate or None, record.seed), *epoch)
        for record in furthest(records)
        for epoch in _history(record)
    )
    publish(path, encoded(csv_text(_HISTORY_COLUMNS, rows)))


def _history(record: TrainingRecord) -> Iterator[tuple[object, ...]]:
    for epoch in record.epochs:
        yield epoch.epoch + 1, epoch.train_loss, epoch.val_loss, epoch.val_accuracy
    for number, loss in enumerate(record.losses, start=1):
        yield number, loss, None, None


def write_comparison_table(path: Path, rows: Iterable[Row]) -> None:
    """Write comparison.csv: every figure of every row; those of test are empty without a test split.

    So is the learning rate of a solved probe.
    """
    rows = list(rows)
    several = any(row.get("network") for row in rows)
    columns = (*_NETWORK_COLUMNS, *_TABLE_COLUMNS) if several else _TABLE_COLUMNS
    lines = ([line.get(name, "") for name in columns] for line in map(_table_line, rows))
    publish(path, encoded(csv_text(columns, lines)))


def _table_line(row: Row) -> dict[str, object]:
    if not isinstance(row, ScoredRow):
        return {"network": row.get("network"), "strategy": row.strategy, "error": row.get("error")}
    line: dict[str, object] = {name: row.get(name) for name in ("network", *_CHOICE)}
    line |= {"learning_rate": row.learning_rate or None, "head_start": head_in_words(row)}
    line |= {"batch_norm": batch_norm_in_words(row) or None}
    if row.nearest_neighbors is not None:
        line |= {f"nearest_neighbors_{split}": found for split, found in row.nearest_neighbors.items()}
    line |= {name: getattr(row.cost, name) for name in _COSTS}
    for split, scores in (("train", row.train), ("val", row.val), ("test", row.test)):
        if scores is not None:
            line |= {f"{split}_{name}": getattr(scores, name).mean for name in _METRICS}
            line |= {f"{split}_{name}": getattr(scores.accuracy, name) for name in _SPREAD}
    if row.test is not None:
        line["test_low95"], line["test_high95"] = row.test.interval95
        line["train_test_gap"] = row.train_test_gap
    if row.versus_full is not None:
        line["difference_low95"], line["difference_high95"] = row.versus_full.interval95
        line |= {"difference_to_full": row.versus_full.difference, "p_holm": row.versus_full.p_holm}
    if row.versus_best is not None:
        line["best_low95"], line["best_high95"] = row.versus_best.interval95
        line |= {"difference_to_best": row.versus_best.difference, "best_p_holm": row.versus_best.p_holm}
    return line


def read_thumbnails(folder: Path) -> dict[str, str]:
    """Path relative to the data -> picture in base64; empty where the run has none."""
    stored = read_if_there(folder / THUMBNAILS, Thumbnails)
    return dict(stored.images) if stored else {}


def write_thumbnails(folder: Path, images: Mapping[str, str]) -> None:
    """Write thumbnails.json: path relative to the data -> picture in base64."""
    write(folder / THUMBNAILS, Thumbnails(format_version=FORMAT_VERSION, side=SIDE, images=images))


def read_run(folder: Path) -> Run:
    """A finished run; `RunFolderError` if it is unfinished, damaged or not a run."""
    run = Run(
        folder,
        read_results(folder),
        check=read_if_there(folder / CHECK, CheckResult),
        explanation=read_if_there(folder / EXPLANATION, Explanation),
        pictures={path: data_uri(picture) for path, picture in read_thumbnails(folder).items()},
        timm_folder=folder / MODEL if (folder / MODEL / "config.json").is_file() else None,
        ensemble=sorted(path.parent for path in (folder / MODEL).glob("*/config.json")),
    )
    return replace(run, predictions=_shown_predictions(run))


def _shown_predictions(run: Run) -> Predictions | None:
    """The test images, else the validation images, by the shown row and seed; None if there are none."""
    path = run.folder / PREDICTIONS
    if run.shown is None or not is_expected(path):
        return None
    found: dict[str, list[Guess]] = {"test": [], "val": []}
    for line in read_predictions(path, run.shown.label, run.shown_seed):
        found[line.split].append(Guess(line.path, line.true, line.predicted, max(line.probabilities)))
    split = next((name for name, guesses in found.items() if guesses), None)
    return None if split is None else Predictions(split, prediction_classes(path), tuple(found[split]))


def read_overlays(run: Run) -> dict[str, str]:
    """Pictures of the explanation that the report shows, as data URIs by file.

    Without digests, those that are gone are left out.
    """
    overlays = {}
    for name in (name for image in shown_images(run.explanation) for name in files_of(image)):
        path = proved(run.folder / name)
        with suppress(DataError, OSError):
            overlays[name] = small_picture(path, MAP_SIDE)
    return overlays
