"""The ledger of a run: an Optuna study in a journal file, one trial per training, written by one process.

`optuna-dashboard RUN/ledger.journal` opens it. A training enters it in one append, when it is over, so a killed run
loses at most the training that was running.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from thawline.errors import RunFolderError
from thawline.records import TrainingRecord

STUDY_NAME = "thawline"
RECORD = "record"


class Ledger:
    """What was trained and scored so far; reopening the file brings it all back."""

    def __init__(self, path: Path) -> None:
        """The caller holds the run folder's lock: nobody else writes."""
        _mend(path)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self.storage = JournalStorage(JournalFileBackend(str(path)))
            """For further studies in the same journal."""
            self._study = optuna.create_study(
                study_name=STUDY_NAME, storage=self.storage, direction="maximize", load_if_exists=True
            )
            trials = self._study.get_trials(deepcopy=False)
            self._records = {record.key: record for record in map(_record, trials)}
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{path} is damaged ({error}); start a new run with another `out`.") from error

    @property
    def records(self) -> tuple[TrainingRecord, ...]:
        """All trainings, in the order in which they ended."""
        return tuple(self._records.values())

    def find(self, key: str) -> TrainingRecord | None:
        """The training with this key, if it is over (or failed: it would fail again)."""
        return self._records.get(key)

    def of(self, strategy: str) -> tuple[TrainingRecord, ...]:
        """The trainings in one strategy's name, in the order in which they ended."""
        return tuple(record for record in self.records if record.strategy == strategy)

    def add(self, record: TrainingRecord) -> None:
        """Append a training that is over; on disk when this returns."""
        self._study.add_trial(_trial(record))
        self._records[record.key] = record

    def bind(self, origin: str) -> None:
        """Tie the ledger to what its trainings start from: others must not join it."""
        bound = self._study.user_attrs.get("origin")
        if bound is None:
            self._study.set_user_attr("origin", origin)
        elif bound != origin:
            raise RunFolderError(
                "the images, their splits, the model or its weights changed since this run began, or Pillow or timm, "
                "which prepare images; start a new run with another `out`."
            )

    def bind_pixels(self, digest: str) -> None:
        """Tie the ledger to the SHA-256 of the decoded images: equal files and versions may still decode otherwise."""
        bound = self._study.user_attrs.get("pixels")
        if bound is None:
            self._study.set_user_attr("pixels", digest)
        elif bound != digest:
            raise RunFolderError(
                "the images decode to other pixels than when this run began (another build of Pillow or of a library "
                "that it uses); start a new run with another `out`."
            )

    @property
    def micro_batch(self) -> int | None:
        """Images in memory at a time, if the batch did not fit at some point of the run."""
        found: int | None = self._study.user_attrs.get("micro_batch")
        return found

    def keep_micro_batch(self, size: int) -> None:
        """Journal that only `size` images fit, so that a resumed run computes what this one does."""
        self._study.set_user_attr("micro_batch", size)

    def intend_test(self, key: str) -> None:
        """Journal that the training `key` is about to be scored on test; its plan, rate and epoch are settled."""
        self._study.set_user_attr(f"test:{key}", {"intent": True})

    def commit_test(self, key: str, scores: dict[str, Any]) -> None:
        """Journal the test scores of the training `key`; they are never computed again."""
        self._study.set_user_attr(f"test:{key}", {"intent": True, "scores": scores})

    def test_scores(self, key: str) -> dict[str, Any] | None:
        """The journalled test scores of the training `key`."""
        entry = self._study.user_attrs.get(f"test:{key}", {})
        scores: dict[str, Any] | None = entry.get("scores")
        return scores


def _trial(record: TrainingRecord) -> FrozenTrial:
    # The strategy is no Optuna parameter: a categorical one must have the same choices in every trial.
    distributions: dict[str, BaseDistribution] = {
        "learning_rate": FloatDistribution(1e-12, 1e4, log=True),
        "seed": IntDistribution(0, 2**62),
    }
    return create_trial(
        state=TrialState.FAIL if record.best is None else TrialState.COMPLETE,
        value=None if record.best is None else record.best.val_score,
        params={"learning_rate": record.learning_rate, "seed": record.seed},
        distributions=distributions,
        user_attrs={"strategy": record.strategy, "purpose": record.purpose, RECORD: record.to_dict()},
        intermediate_values={epoch.epoch: epoch.val_score for epoch in record.epochs},
    )


def _record(trial: FrozenTrial) -> TrainingRecord:
    return TrainingRecord.from_dict(trial.user_attrs[RECORD])


def _mend(path: Path) -> None:
    """Undo what `kill -9` can leave: half a last line, and the lock of a process that is gone.

    Optuna refuses a journal with half a line in its middle, which the next append would make of it.
    """
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole.endswith(b"\n") and not _is_json(whole.splitlines()[-1]):
        whole = whole[: whole.rstrip(b"\n").rfind(b"\n") + 1]
    if whole != data:
        os.truncate(path, len(whole))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
