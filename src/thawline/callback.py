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


Listener = Callback
"""The name before 0.2; goes with it."""
