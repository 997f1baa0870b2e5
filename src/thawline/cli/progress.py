"""What long work shows while it runs: a live bar on a terminal, plain sparse lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TimeElapsedColumn
from rich.text import Text

from thawline.callback import Callback
from thawline.cli.options import as_flags
from thawline.formatting import counted, duration, figure, mebibytes, rate
from thawline.records import EpochRecord, TrainingRecord
from thawline.visible import visible

SILENCE = 60.0
"""Seconds after which an epoch is worth a line of its own, where the output is not a terminal."""


class _WrappedProgress(Progress):
    """What is running in words, wrapped where the terminal is narrow, and the bar below."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """The words of every task, then all bars."""
        for task in self.tasks:
            yield Text(visible(f"{task.description}: {task.fields['status']}"))
        yield self.make_tasks_table(self.tasks)


class ConsoleCallback(Callback):
    """Progress for people: a live bar on a terminal, one line per training elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = _WrappedProgress(
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._expected_seconds = 0.0
        self._expected_trainings = 0
        self._done = 0
        self._best: TrainingRecord | None = None
        self._first_seeds: dict[tuple[str, int | None, int | None], int] = {}
        """Candidate of a search -> the seed that it was tried with first."""
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> ConsoleCallback:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a line above the progress."""
        self.console.print(visible(as_flags(text)), highlight=False, markup=False, emoji=False)
        self._last_line = time.monotonic()

    def decoding(self, done: int, total: int) -> None:
        """A bar while pixels are made."""
        self._show("decoding images", done, total, f"{done:,} of {total:,}")

    def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
        """Say how long it will take, at most."""
        self._expected_seconds, self._expected_trainings = seconds, trainings
        self._started = time.monotonic()
        self.note(
            f"Forecast: about {duration(seconds)} on this machine, less with early stopping; "
            f"{counted(trainings, 'training')}, as much work as {units:.1f} full fine-tunings (tuning or search, final "
            f"trainings, baselines), {mebibytes(memory_bytes)} of memory per training step."
        )

    def training_started(self, record: TrainingRecord) -> None:
        """Show what is running."""
        self._show(self._title(record), self._done, max(self._expected_trainings, self._done + 1), self._status(record))

    def epoch_done(self, record: TrainingRecord, epoch: EpochRecord) -> None:
        """Show where the running training stands."""
        status = f"epoch {epoch.epoch + 1}, val {figure(epoch.val_accuracy)}; {self._status(record)}"
        self._show(self._title(record), self._done, max(self._expected_trainings, self._done + 1), status)
        if not self.console.is_terminal and time.monotonic() - self._last_line > SILENCE:
            self.note(f"{self._title(record)}: {status}")

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        """Keep the best so far; print a line where the output is not a terminal."""
        self._done += not stored
        if not self._again(record) and (self._best is None or record.score > self._best.score):
            self._best = record
        if self.console.is_terminal or stored:
            return
        outcome = record.error or f"val {figure(record.score[0])} after {counted(len(record.epochs), 'epoch')}"
        # A search may need more trainings than it was thought to.
        expected = f"/{self._expected_trainings}" if self._done <= self._expected_trainings else ""
        self.note(f"[{self._done}{expected}] {self._title(record)}: {outcome}; {self._status(record)}")

    def _title(self, record: TrainingRecord) -> str:
        if record.purpose != "search":
            purpose = "tuning" if record.purpose == "tuning" else f"seed {record.seed}"
            return f"{record.strategy} at {rate(record.learning_rate)} ({purpose})"
        again = f", seed {record.seed}" if self._again(record) else ""
        until = "" if record.until is None else f", first {counted(record.until, 'epoch')}"
        return f"{record.strategy} generation {record.generation}, candidate {record.slot}{again}{until}"

    def _again(self, record: TrainingRecord) -> bool:
        """Whether it is a further seed of a candidate, whose scores only count together."""
        if record.purpose != "search":
            return False
        candidate = record.strategy, record.generation, record.slot
        return self._first_seeds.setdefault(candidate, record.seed) != record.seed

    def _status(self, current: TrainingRecord) -> str:
        best = "no result yet"
        if self._best:
            whose = "" if self._best.strategy == current.strategy else f"{self._best.strategy} "
            best = f"best so far {whose}{figure(self._best.score[0])}"
        left = self._expected_seconds - (time.monotonic() - self._started)
        return f"{best}, at most {duration(left)} left" if left > 0 else best

    def _show(self, description: str, done: int, total: int, status: str) -> None:
        if self._task is None:
            self._task = self._progress.add_task(description, status=status)
        self._progress.update(self._task, description=description, completed=done, total=total, status=status)
