"""Trainings as MLflow runs in a store on this machine: one parent run, and below it one run per training.

MLflow 3.17 and later refuse plain folders as stores, so the default is what `mlflow ui` opens: mlflow.db, a SQLite file
in the current folder.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from thawline.errors import MissingExtraError, OptionError
from thawline.records import EpochRecord, TrainingRecord
from thawline.results import Comparison, FitResults
from thawline.trackers.base import Tracker, figures_of, name_of, outcome_of, test_scores

LOCAL = ("", "file", "sqlite")
"""Schemes of stores that need no network."""
TELEMETRY = "MLFLOW_DISABLE_TELEMETRY"


class MLflow(Tracker):
    """Runs, parameters and metrics in a local MLflow store."""

    def __init__(self, uri: str | None = None, experiment: str = "thawline") -> None:
        """`uri` of a local store; None = that of MLFLOW_TRACKING_URI, else mlflow.db in the current folder.

        MLflow's telemetry is off unless the environment says otherwise (MLFLOW_DISABLE_TELEMETRY). Raises `OptionError`
        for a store that is reached over a network.
        """
        self._uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}"
        if urlsplit(self._uri).scheme not in LOCAL:
            raise OptionError(
                f"MLflow's store must be on this machine, got {self._uri}: unset MLFLOW_TRACKING_URI, or set it to a "
                "store such as sqlite:///mlflow.db."
            )
        os.environ.setdefault(TELEMETRY, "true")
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise MissingExtraError(
                "MLflow runs need the mlflow library, which is not installed: pip install 'thawline[mlflow]'"
            ) from error
        self._connect = MlflowClient
        self._experiment = experiment
        self._client: Any = None
        self._parent = ""
        self._runs: dict[str, str] = {}
        """Key of a training that runs -> its MLflow run."""

    def run_started(self, folder: Path, request: Mapping[str, object]) -> None:
        """Begin the parent run, with the options as parameters."""
        logging.getLogger("mlflow.store.db").setLevel(logging.WARNING)  # else it tells of every table that it makes
        self._client = self._connect(tracking_uri=self._uri)
        found = self._client.get_experiment_by_name(self._experiment)
        self._number = found.experiment_id if found else self._client.create_experiment(self._experiment)
        self._parent = self._begin(folder.name, {"thawline.folder": str(folder.absolute())})
        self._parameters(self._parent, _flat(request))

    def epoch_done(self, record: TrainingRecord, epoch: EpochRecord) -> None:
        """Losses and scores by epoch."""
        self._metrics(self._run_of(record), figures_of(epoch), epoch.epoch)

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        """How it ended; a training found in the ledger was logged when it ran."""
        if stored:
            return
        run = self._run_of(record)
        self._metrics(run, outcome_of(record), max(0, len(record.epochs) - 1))
        self._client.set_terminated(run, status="FAILED" if record.error else "FINISHED")
        del self._runs[record.key]

    def run_ended(self, results: FitResults | Comparison | None) -> None:
        """The answer and the test accuracies, if there is one; all runs are closed."""
        for run in self._runs.values():
            self._client.set_terminated(run, status="KILLED")
        self._runs.clear()
        if results is not None:
            self._client.set_tag(self._parent, "mlflow.note.content", results.answer)
            scores = {f"test accuracy/{_plain(name)}": accuracy for name, accuracy in test_scores(results).items()}
            self._metrics(self._parent, scores, 0)
        self._client.set_terminated(self._parent, status="KILLED" if results is None else "FINISHED")

    def _run_of(self, record: TrainingRecord) -> str:
        if record.key not in self._runs:
            run = self._runs[record.key] = self._begin(name_of(record), {"mlflow.parentRunId": self._parent})
            facts = {"strategy": record.strategy, "purpose": record.purpose, "seed": record.seed, "key": record.key}
            self._parameters(run, {**facts, "learning_rate": record.learning_rate})
        return self._runs[record.key]

    def _begin(self, name: str, tags: Mapping[str, str]) -> str:
        run = self._client.create_run(self._number, run_name=name, tags={**tags, "mlflow.source.name": "thawline"})
        return str(run.info.run_id)

    def _parameters(self, run: str, values: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        self._client.log_batch(run, params=[Param(name, str(value)) for name, value in values.items()])

    def _metrics(self, run: str, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(run, metrics=[Metric(name, value, now, step) for name, value in values.items()])


def _flat(request: Mapping[str, object]) -> dict[str, object]:
    """Options by name, whichever part of the request they are in; those without a value are left out."""
    own = {name: value for name, value in request.items() if not isinstance(value, dict)}
    parts = [part for part in request.values() if isinstance(part, dict)]
    found = {**own, **{name: value for part in parts for name, value in part.items()}}
    return {name: value for name, value in found.items() if value is not None}


def _plain(name: str) -> str:
    """A strategy as MLflow takes it in the name of a metric."""
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)
