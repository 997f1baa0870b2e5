"""Callbacks of long runs. Standard library only; the command line draws progress with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from thawline.formatting import row_label
from thawline.records import EpochRecord, TrainingRecord
from thawline.results import Comparison, FitResults


class Callback:
    """Base class whose methods do nothing; override those you need."""

    def note(self, text: str) -> None:
        """One line for the user: what was found, dropped or decided."""

    def decoding(self, done: int, total: int) -> None:
        """Images decoded so far."""

    def predicting(self, done: int, total: int) -> None:
        """Images predicted so far; those that a file had before count as done."""

    def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
        """Before training: wall time in seconds, units of work, trainings and bytes of one step, at most."""

    def run_started(self, folder: Path, request: Mapping[str, object]) -> None:
        """The images are ready and training begins in `folder`, with these options (`Request.to_dict()`)."""

    def run_ended(self, results: FitResults | Comparison | None) -> None:
        """What the run found; None = it failed, or was interrupted."""

    def training_started(self, record: TrainingRecord) -> None:
        """A training begins; the record has no epochs yet."""

    def epoch_done(self, record: TrainingRecord, epoch: EpochRecord) -> None:
        """An epoch of that training is over."""

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        """A training is over, or failed (`record.error`); `stored` = it was found in the ledger and not repeated."""

    def trained_ahead(self, record: TrainingRecord, running: int) -> None:
        """A worker has trained what the run is going to ask for; `running` others are on their way."""


class Callbacks(Callback):
    """Several callbacks as one: each is told of everything, in their order."""

    def __init__(self, *callbacks: Callback) -> None:
        self.callbacks = callbacks


def _passing_on(event: str) -> Callable[..., None]:
    def told(self: Callbacks, *args: object, **kwargs: object) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(*args, **kwargs)

    told.__doc__ = getattr(Callback, event).__doc__
    return told


EVENTS = tuple(name for name in vars(Callback) if not name.startswith("_"))
"""Names of all methods of `Callback`."""
for _event in EVENTS:
    setattr(Callbacks, _event, _passing_on(_event))


class SaidOnce(Callbacks):
    """Passes everything on, but no note twice: experiments on the same images say the same of them."""

    def __init__(self, callback: Callback) -> None:
        super().__init__(callback)
        self._said: set[str] = set()

    def note(self, text: str) -> None:
        """Passed on if it is new."""
        if text not in self._said:
            self._said.add(text)
            super().note(text)


class OfNetwork(Callbacks):
    """Passes everything on, with the name of a network before the strategies of its trainings; forecasts are kept."""

    def __init__(self, callback: Callback, network: str) -> None:
        super().__init__(callback)
        self._network = network

    def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
        """Not passed on: that of all networks together was."""

    def training_started(self, record: TrainingRecord) -> None:
        """A training of the network begins."""
        super().training_started(self._named(record))

    def epoch_done(self, record: TrainingRecord, epoch: EpochRecord) -> None:
        """An epoch of it is over."""
        super().epoch_done(self._named(record), epoch)

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        """It is over."""
        super().training_done(self._named(record), stored=stored)

    def trained_ahead(self, record: TrainingRecord, running: int) -> None:
        """A worker is done with it."""
        super().trained_ahead(self._named(record), running)

    def _named(self, record: TrainingRecord) -> TrainingRecord:
        return replace(record, strategy=row_label(record.strategy, self._network))


Listener = Callback
"""The name before 0.2; goes with it."""
