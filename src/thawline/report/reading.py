"""A finished run, as the report draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from thawline.config import Request, TrainConfig
from thawline.report import summary
from thawline.report.predictions import Predictions
from thawline.results import CheckResult, Comparison, Explanation, FitResults, Row, ScoredRow


@dataclass(frozen=True)
class Run:
    """What a run found."""

    folder: Path
    results: FitResults | Comparison
    predictions: Predictions | None = None
    """Predictions of the shown row for its lowest seed."""
    check: CheckResult | None = None
    explanation: Explanation | None = None
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Path of an image, relative to the data -> its thumbnail as a data URI."""
    overlays: Mapping[str, str] = field(default_factory=dict)
    """Picture of the explanation, relative to the folder -> the same, smaller, as a data URI."""
    timm_folder: Path | None = None
    """The saved model, if timm can open it."""
    ensemble: Sequence[Path] = ()
    """The members of a saved ensemble, if timm can open them."""

    @property
    def is_fit(self) -> bool:
        """Whether one model was asked for; else strategies were compared."""
        return isinstance(self.results, FitResults)

    @property
    def rows(self) -> Sequence[Row]:
        """All of them; the model that `fit` saved comes first, its baselines after it."""
        return self.results.rows

    @property
    def shown(self) -> ScoredRow | None:
        """The row that is drawn in detail: the saved model's, or the best on validation; None = all failed."""
        return self.results if isinstance(self.results, FitResults) else summary.best_row(self.results)

    @property
    def shown_seed(self) -> int:
        """The seed whose predictions are drawn."""
        return self.results.saved_seed if isinstance(self.results, FitResults) else self.results.seed

    @property
    def scored(self) -> list[ScoredRow]:
        """The rows that could be trained."""
        return summary.scored(self.rows)

    @property
    def split(self) -> str:
        """The split that accuracies are of."""
        return "test" if all(row.test for row in self.scored) else "validation"

    @property
    def request(self) -> Request:
        """What the run was asked to do."""
        return Request.from_dict(self.results.request)

    @property
    def train_config(self) -> TrainConfig:
        """How every training was done."""
        return self.request.train
