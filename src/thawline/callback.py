"""Callbacks of long runs. Standard library only; the command line draws progress with one."""

from __future__ import annotations

from thawline.records import EpochRecord, TrainingRecord


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

    def training_started(self, record: TrainingRecord) -> None:
        """A training begins; the record has no epochs yet."""

    def epoch_done(self, record: TrainingRecord, epoch: EpochRecord) -> None:
        """An epoch of that training is over."""

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        """A training is over, or failed (`record.error`); `stored` = it was found in the ledger and not repeated."""


class SaidOnce(Callback):
    """Passes everything on, but no note twice: experiments on the same images say the same of them."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self._said: set[str] = set()

    def note(self, text: str) -> None:
        """Passed on if it is new."""
        if text not in self._said:
            self._said.add(text)
            self._callback.note(text)

    def decoding(self, done: int, total: int) -> None:
        """Passed on."""
        self._callback.decoding(done, total)

    def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
        """Passed on."""
        self._callback.forecast(seconds, units, trainings, memory_bytes)

    def training_started(self, record: TrainingRecord) -> None:
        """Passed on."""
        self._callback.training_started(record)

    def epoch_done(self, record: TrainingRecord, epoch: EpochRecord) -> None:
        """Passed on."""
        self._callback.epoch_done(record, epoch)

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        """Passed on."""
        self._callback.training_done(record, stored=stored)


Listener = Callback
"""The name before 0.2; goes with it."""
