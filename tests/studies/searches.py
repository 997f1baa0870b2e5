"""What tests of whole searches share: trainings in any order, and how a run is looked at."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from thawline.records import TrainingRecord, read_json
from thawline.search.candidates import Task
from thawline.studies.tuning import CandidateTrainings


def train_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch of candidates is trained in another order than the one in which the search asks for it."""
    plain, order = CandidateTrainings.train_all, random.Random(0)

    def shuffled(self: CandidateTrainings, tasks: Iterable[Task]) -> dict[str, TrainingRecord]:
        # Candidates with the same plan are one training, in the name of the first of them.
        first: dict[str, Task] = {}
        for task in tasks:
            first.setdefault(self.key(task), task)
        batch = list(first.values())
        order.shuffle(batch)
        return plain(self, batch)

    monkeypatch.setattr(CandidateTrainings, "train_all", shuffled)


def answer(run: Path) -> tuple[Any, ...]:
    results = read_json(run / "results.json")
    search = results["search"]
    return results["digest"], search["digest"], search["winner"], results["plan"], search["work"]


def study_of(run: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(run / "ledger.journal")))
    (name,) = (name for name in optuna.get_all_study_names(storage) if name.startswith("thawline-search:"))
    return optuna.load_study(study_name=name, storage=storage)
