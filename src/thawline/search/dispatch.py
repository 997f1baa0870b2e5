"""Have a batch of tasks trained by an executor; each outcome is stored as soon as it is there, by one process."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor, Future, as_completed, wait
from typing import Protocol

from thawline.records import TrainingRecord
from thawline.search.candidates import Task


class Trainings(Protocol):
    """What a driver needs of whoever can train."""

    def key(self, task: Task) -> str:
        """Fingerprint of all that the outcome depends on."""
        ...

    def find(self, task: Task) -> TrainingRecord | None:
        """The stored training of the same key."""
        ...

    def train(self, task: Task) -> TrainingRecord:
        """Train, wherever this is called; a diverged training is a record with an error."""
        ...

    def keep(self, record: TrainingRecord) -> None:
        """Store a training; called by the driver alone."""
        ...


def train_all(tasks: Iterable[Task], trainings: Trainings, executor: Executor) -> dict[str, TrainingRecord]:
    """Records by key. Tasks of one key are one training; what is stored is not trained again.

    A killed run loses only what was running.
    """
    done: dict[str, TrainingRecord] = {}
    waiting: set[Future[TrainingRecord]] = set()
    asked: set[str] = set()
    for task in tasks:
        key = trainings.key(task)
        if key in asked:
            continue
        asked.add(key)
        if stored := trainings.find(task):
            done[key] = stored
            continue
        waiting.add(executor.submit(trainings.train, task))
        finished, waiting = wait(waiting, timeout=0)
        _keep(finished, trainings, done)
    for future in as_completed(waiting):
        _keep((future,), trainings, done)
    return done


def _keep(futures: Iterable[Future[TrainingRecord]], trainings: Trainings, done: dict[str, TrainingRecord]) -> None:
    for future in futures:
        record = future.result()
        trainings.keep(record)
        done[record.key] = record
