"""What long work shows while it runs: a live bar on a terminal, a line that changes in a notebook, else plain lines."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pkgutil import resolve_name
from statistics import fmean
from typing import Literal, NamedTuple, Protocol, cast

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TaskID, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from thawline.callback import Callback
from thawline.errors import OptionError
from thawline.formatting import counted, duration, figure, mebibytes, rate
from thawline.plain_table import BOX, DIM, LINE
from thawline.plan import FineTunePlan
from thawline.ranges import shown as shown_value
from thawline.records import EpochRecord, TrainingRecord
from thawline.report.consoles import PLAIN_WIDTH, PlainConsole
from thawline.report.plan_words import is_distilled, is_mixture, is_solved, is_untrained, mixture_in_words
from thawline.visible import visible

SILENCE = 60.0
"""Seconds after which an epoch is worth a line of its own, where the output is not a terminal."""
REDRAWN = 0.2
"""Seconds between two changes of the line in a notebook."""

AUTO: Literal["auto"] = "auto"
Progress = Callback | Literal["auto"] | None
"""Your own callback; "auto" = progress where you see it, on a terminal or in a notebook; None = silence."""


_PURPOSES = {"tuning": "tuning", "refit": "refit on train and val"}


class _WrappedProgress(Bar):
    """What is running in words, wrapped where the terminal is narrow, and the bar below."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """The words of every task, then all bars."""
        for task in self.tasks:
            yield Text(visible(f"{task.description}: {task.fields['status']}"))
        yield self.make_tasks_table(self.tasks)


class _Subject(NamedTuple):
    """What is trained, whatever the seed."""

    strategy: str
    purpose: str
    plan: str
    fold: int | None


def _subject(record: TrainingRecord) -> _Subject:
    strategy = _what(record) if is_mixture(record) else record.strategy
    return _Subject(strategy, record.purpose, repr(record.plan), record.fold)


def _trainings(count: int) -> str:
    """Where there are several, some of them are an estimate."""
    return f"about {counted(count, 'training')}" if count > 1 else counted(count, "training")


def _work(units: float) -> str:
    if units < 0.05:
        return "less work than 0.1 full fine-tunings"
    return f"as much work as {units:.1f} full fine-tunings"


def _what(record: TrainingRecord) -> str:
    """The strategy and the rate at which it trains, or what is put together from trainings."""
    if is_mixture(record):
        return mixture_in_words(FineTunePlan.from_dict(record.plan))
    return record.strategy if is_untrained(record) else f"{record.strategy} at {rate(record.learning_rate)}"


def _after(record: TrainingRecord) -> str:
    """How long it trained; nothing of a mixture that did not."""
    if is_mixture(record) and not is_distilled(record):
        return ""
    if is_untrained(record):
        return " (solved)" if is_solved(record) else " (nothing trained)"
    return f" after {counted(len(record.epochs or record.losses), 'epoch')}"


class ProgressCallback(Callback):
    """Progress in words; subclasses show it."""

    changes = True
    """Whether what is shown can be overwritten."""
    between = 0.0
    """Where it cannot: seconds between two lines about finished trainings, at least."""

    def __init__(self) -> None:
        self._expected_seconds = 0.0
        self._done = 0
        self._scores: dict[_Subject, dict[int, float]] = {}
        """What was trained, whatever the seed -> the latest validation score of each seed, the first seed first."""
        self._started = self._last_line = time.monotonic()
        self._first: tuple[int, float] | None = None
        """Images predicted when the work began, and when that was."""

    def _show(self, description: str, status: str, done: int = 0, total: int | None = None) -> None:
        """What is being done, and how far it is."""
        raise NotImplementedError

    def note(self, text: str) -> None:
        """A line that stays."""
        raise NotImplementedError

    def decoding(self, done: int, total: int) -> None:
        """A bar while pixels are made."""
        self._show("decoding images", f"{done:,} of {total:,}", done, total)

    def predicting(self, done: int, total: int) -> None:
        """A bar while images are classified; elsewhere a line a minute."""
        if self._first is None:
            self._first = (done, time.monotonic())
        before, started = self._first
        seconds = time.monotonic() - started
        speed = (done - before) / seconds if seconds > 0 else 0.0
        status = f"{done:,} of {total:,}"
        if speed > 0:
            status += f", {speed:,.0f} a second, about {duration((total - done) / speed)} left"
        self._show("classifying images", status, done, total)
        if not self.changes and time.monotonic() - self._last_line > SILENCE:
            self.note(f"Classifying images: {status}")

    def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
        """Say how long it will take, at most."""
        self._expected_seconds = seconds
        self._started = time.monotonic()
        memory = f", {mebibytes(memory_bytes)} of memory per training step" if memory_bytes else ""
        self.note(
            f"Forecast: about {duration(seconds)} on this machine, less with early stopping; "
            f"{_trainings(trainings)}, {_work(units)} (tuning or search, final trainings, baselines){memory}."
        )

    def training_started(self, record: TrainingRecord) -> None:
        """Show what is running."""
        self._show(self._title(record), self._status(record))

    def epoch_done(self, record: TrainingRecord, epoch: EpochRecord) -> None:
        """Show where the running training stands."""
        mixed = is_mixture(record) and not is_distilled(record)
        where = "solved" if is_solved(record) else "mixed" if mixed else f"epoch {epoch.epoch + 1}"
        validated = "" if epoch.val_accuracy is None else f", val {figure(epoch.val_accuracy)}"
        status = f"{where}{validated}; {self._status(record)}"
        self._show(self._title(record), status)
        if not self.changes and time.monotonic() - self._last_line > SILENCE:
            self.note(f"{self._title(record)}: {status}")

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        """Keep the best so far; print a line where the output is not a terminal."""
        self._done += not stored
        if not record.error and record.purpose != "refit":
            self._scores.setdefault(_subject(record), {})[record.seed] = record.score[0]
        if self.changes or stored or time.monotonic() - self._last_line < self.between:
            return
        score = "done" if record.purpose == "refit" else f"val {figure(record.score[0])}"
        outcome = record.error or f"{score}{_after(record)}"
        # No total: how many trainings there will be is not known before a search, or tuning, has ended.
        self.note(f"[{self._done}] {self._title(record)}: {outcome}; {self._status(record)}")

    def trained_ahead(self, record: TrainingRecord, running: int) -> None:
        """Show what workers do, which is reported in its own time; elsewhere a line a minute."""
        status = f"done by a worker, {running} more running; {self._status(record)}"
        self._show(self._title(record), status)
        if not self.changes and time.monotonic() - self._last_line > SILENCE:
            self.note(f"{self._title(record)}: {status}")

    def _title(self, record: TrainingRecord) -> str:
        if record.purpose != "search":
            return f"{_what(record)} ({_PURPOSES.get(record.purpose, f'seed {record.seed}')})"
        again = f", seed {record.seed}" if self._again(record) else ""
        until = "" if record.until is None else f", first {counted(record.until, 'epoch')}"
        return f"{record.strategy} generation {record.generation}, candidate {record.slot}{again}{until}"

    def _again(self, record: TrainingRecord) -> bool:
        """Whether it is a further seed of a candidate, whose scores only count together."""
        seeds = self._scores.get(_subject(record), {})
        return record.purpose == "search" and next(iter(seeds), record.seed) != record.seed

    def _status(self, current: TrainingRecord) -> str:
        best = self._best(_subject(current).strategy)
        left = self._expected_seconds - (time.monotonic() - self._started)
        return f"{best}, about {duration(left)} left" if left > 0 else best

    def _best(self, running: str, best: str = "best so far") -> str:
        """The highest validation score so far, the mean where one plan was trained with several seeds."""
        if not self._scores:
            return "no result yet"
        subject, seeds = max(self._scores.items(), key=lambda item: fmean(item[1].values()))
        whose = "" if subject.strategy == running else f"{subject.strategy} "
        trainings = "one training" if len(seeds) == 1 else f"mean over {len(seeds)} seeds"
        return f"{best} {whose}{figure(fmean(seeds.values()))} ({trainings})"


class ConsoleCallback(ProgressCallback):
    """A live bar on a terminal, one line per training elsewhere."""

    def __init__(self, console: Console, between: float = 0.0) -> None:
        super().__init__()
        self.console = console
        self.changes = console.is_terminal
        self.between = between
        self._progress = _WrappedProgress(
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> ConsoleCallback:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a line above the progress."""
        self.console.print(visible(text), highlight=False, markup=False, emoji=False)
        self._last_line = time.monotonic()

    def _show(self, description: str, status: str, done: int = 0, total: int | None = None) -> None:
        """One bar; without a total it only moves."""
        if self._task is not None and (self._progress.tasks[0].total is None) != (total is None):
            self._progress.remove_task(self._task)
            self._task = None
        if self._task is None:
            self._task = self._progress.add_task(description, total=total, status=status)
        self._progress.update(self._task, description=description, completed=done, total=total, status=status)


class Display(Protocol):
    """What is used of IPython's `DisplayHandle`: an output of a notebook that can be replaced."""

    def update(self, obj: object) -> object:
        """Show another object in its place."""
        ...


class Lines:
    """Some lines, as a terminal and as a notebook show them."""

    def __init__(self, notes: Sequence[str], line: str) -> None:
        self.notes = notes
        self.line = line

    def __repr__(self) -> str:
        return "\n".join([*self.notes, self.line])

    def _repr_html_(self) -> str:
        notes = "".join(f'<div style="{LINE};{DIM}">{escape(note)}</div>' for note in self.notes)
        return f'<div class="thawline" style="{BOX}">{notes}<div style="{LINE}">{escape(self.line)}</div></div>'


class NotebookCallback(ProgressCallback):
    """One output of a notebook: the notes, and below them a line that changes and stays at the end."""

    def __init__(self, show: Callable[[object], Display]) -> None:
        """`show`: displays an object and returns the handle by which it is replaced."""
        super().__init__()
        self._notes: list[str] = []
        self._line = "starting"
        self._handle = show(Lines([], self._line))
        self._drawn = 0.0
        self._began = time.monotonic()

    def __enter__(self) -> NotebookCallback:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        took = duration(time.monotonic() - self._began)
        best = f"; {self._best('', 'best')}" if self._scores else ""
        trained = f": {counted(self._done, 'training')}{best}" if self._done else ""
        self._line = f"Done in {took}{trained}" if kind is None else f"Stopped after {took} at: {self._line}"
        self._draw()

    def note(self, text: str) -> None:
        """Add a line above the one that changes."""
        self._notes.append(visible(text))
        self._draw()

    def _show(self, description: str, status: str, done: int = 0, total: int | None = None) -> None:
        """Change the line, a few times per second at most."""
        self._line = visible(f"{description}: {status}")
        if time.monotonic() - self._drawn > REDRAWN:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._handle.update(Lines(self._notes, self._line))


@contextmanager
def shown(callback: Progress) -> Iterator[Callback]:
    """The callback that the caller gave; for "auto" progress where the caller sees it, for None silence.

    Raises `OptionError` for anything else, a class or a function for example.
    """
    if isinstance(callback, Callback):
        yield callback
    elif callback is None:
        yield Callback()
    elif isinstance(callback, str) and callback == AUTO:
        with _automatic() as own:
            yield own
    else:
        raise OptionError(
            f"`callback` must be a thawline.Callback, 'auto' or None = silence, got {shown_value(callback)}."
        )


def _automatic() -> ConsoleCallback | NotebookCallback:
    """Progress in the notebook that calls, else on standard error."""
    if (display := _notebook()) is not None:
        return NotebookCallback(display)
    stream = sys.stderr or io.StringIO()
    width = None if stream.isatty() else PLAIN_WIDTH
    console = PlainConsole(file=stream, width=width, markup=False, highlight=False, emoji=False)
    return ConsoleCallback(console, between=SILENCE)


def _notebook() -> Callable[[object], Display] | None:
    """IPython's `display` where a kernel runs this process. IPython is not imported if it is not there already."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    display = resolve_name("IPython.display:display")
    return lambda shown: cast("Display", display(shown, display_id=True))
