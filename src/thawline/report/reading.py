"""A finished run folder, read back for drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thawline.errors import RunFolderError
from thawline.records import FORMAT_VERSION, read_json
from thawline.report.predictions import Predictions, read_predictions
from thawline.report.summary import best_row

RESULTS = ("results.json", "comparison.json")
"""Of `fit` and of `compare`."""


@dataclass(frozen=True)
class Run:
    """What a run found."""

    folder: Path
    results: Mapping[str, Any]
    """results.json or comparison.json."""
    rows: Sequence[Mapping[str, Any]]
    """All of them; the model that `fit` saved comes first, its baselines after it."""
    shown: Mapping[str, Any] | None
    """Whose images, classes and plan are drawn: the saved model's, or the best on validation; None if all failed."""
    predictions: Predictions | None
    """Of the shown row and the lowest seed."""

    @property
    def is_fit(self) -> bool:
        """Whether one model was asked for; else strategies were compared."""
        return "rows" not in self.results

    @property
    def scored(self) -> list[Mapping[str, Any]]:
        """The rows that could be trained."""
        return [row for row in self.rows if not row.get("error")]

    @property
    def split(self) -> str:
        """The split that accuracies are of."""
        return "test" if all(row["test"] for row in self.scored) else "validation"

    def record(self, name: str) -> Mapping[str, Any] | None:
        """A further JSON file of the run; None if it has none."""
        path = self.folder / name
        found: Mapping[str, Any] | None = read_json(path) if path.is_file() else None
        return found


def read_run(folder: Path) -> Run:
    """Read a finished run; `RunFolderError` if it is none, or one of another format."""
    path = next((folder / name for name in RESULTS if (folder / name).is_file()), None)
    if path is None:
        if not (folder / "run.json").is_file():
            raise RunFolderError(f"{folder} holds no run (no run.json in it).")
        raise RunFolderError(f"{folder} holds no finished run; `thawline resume {folder}` finishes it.")
    results = read_json(path)
    if not isinstance(results, dict) or results.get("format_version") != FORMAT_VERSION:
        raise RunFolderError(f"{path} is not of format_version {FORMAT_VERSION}; run the command again.")
    rows = results["rows"] if "rows" in results else [results, *results["baselines"].values()]
    shown = best_row(results) if "rows" in results else results
    predictions = None
    if shown is not None:
        seed = int(results["saved_seed"] if "saved_seed" in results else results["seed"])
        predictions = read_predictions(folder / "predictions.csv", shown["strategy"], seed)
    return Run(folder, results, rows, shown, predictions)
