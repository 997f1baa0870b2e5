"""What tests of whole searches share: an executor without order, and how a run is looked at."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from thawline.records import read_json


class ShuffledExecutor(Executor):
    """Runs what was submitted in any other order, one at a time, once nothing more comes."""

    def __init__(self) -> None:
        self.tasks: queue.Queue[Callable[[], None]] = queue.Queue()
        self.order = random.Random(0)
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.tasks.put(lambda: future.set_result(fn(*args, **kwargs)))
        return future

    def _work(self) -> None:
        while True:
            waiting = [self.tasks.get()]
            try:
                while True:
                    waiting.append(self.tasks.get(timeout=0.02))
            except queue.Empty:
                self.order.shuffle(waiting)
            for task in waiting:
                task()


def answer(run: Path) -> tuple[Any, ...]:
    results = read_json(run / "results.json")
    search = results["search"]
    return results["digest"], search["digest"], search["winner"], results["plan"], search["work"]


def study_of(run: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(run / "ledger.journal")))
    (name,) = (one for one in optuna.get_all_study_names(storage) if one.startswith("thawline-search:"))
    return optuna.load_study(study_name=name, storage=storage)
