"""Trainings as TensorBoard event files, through PyTorch's own writer: `tensorboard --logdir RUN/tensorboard`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from thawline.errors import MissingExtraError
from thawline.records import EpochRecord, TrainingRecord
from thawline.results import Comparison, FitResults
from thawline.trackers.base import Tracker, figures_of, name_of, outcome_of, test_scores


class TensorBoard(Tracker):
    """Event files: one folder per training, so that its curves can be shown and hidden by name."""

    def __init__(self, folder: str | Path | None = None) -> None:
        """`folder` of the event files; None = `tensorboard` in the run's folder."""
        try:
            import_module("tensorboard")
        except ImportError as error:
            raise MissingExtraError(
                "TensorBoard files need the tensorboard library, which is not installed: "
                "pip install 'thawline[tensorboard]'"
            ) from error
        self._wanted = folder
        self._folder: Path | None = None
        self._open: dict[str, Any] = {}

    def run_started(self, folder: Path, request: Mapping[str, object]) -> None:
        """Begin the event files of the run as a whole, with its options."""
        self._folder = folder / "tensorboard" if self._wanted is None else Path(self._wanted)
        self._writer("run").add_text("options", f"```json\n{json.dumps(request, indent=2)}\n```")

    def epoch_done(self, record: TrainingRecord, epoch: EpochRecord) -> None:
        """Losses and scores by epoch."""
        writer = self._writer(_folder_name(record))
        for name, value in figures_of(epoch).items():
            writer.add_scalar(name, value, epoch.epoch)

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        """What it was, beside how it ended; a training found in the ledger was logged when it ran."""
        name = _folder_name(record)
        if not stored:
            facts = {"strategy": record.strategy, "purpose": record.purpose, "seed": record.seed}
            facts |= {"learning_rate": record.learning_rate}
            self._writer(name).add_hparams(facts, outcome_of(record), run_name=".")
        if name in self._open:
            self._open.pop(name).close()

    def run_ended(self, results: FitResults | Comparison | None) -> None:
        """The answer and the test accuracies, if there is one; all files are closed."""
        if results is not None:
            self._writer("run").add_text("answer", results.answer)
            for strategy, accuracy in test_scores(results).items():
                self._writer("run").add_scalar(f"test accuracy/{strategy}", accuracy, 0)
        while self._open:
            self._open.popitem()[1].close()

    def _writer(self, name: str) -> Any:
        """The writer of a folder, opened when there is something to write."""
        if self._folder is None:
            raise RuntimeError("told of a training before `run_started`")
        if name not in self._open:
            from torch.utils.tensorboard import SummaryWriter

            self._open[name] = SummaryWriter(str(self._folder / name))
        return self._open[name]


def _folder_name(record: TrainingRecord) -> str:
    """The same for a training that is paused and continued, another one for every other training."""
    return f"{re.sub(r'[^A-Za-z0-9_.=+-]+', '-', name_of(record))}-{record.key[:8]}"
