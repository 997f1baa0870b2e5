"""What long work tells whoever listens. Standard library only; the command line draws it, programs may ignore it."""

from __future__ import annotations

from thawline.records import EpochRecord, TrainingRecord


class Listener:
    """Base class that hears everything and says nothing; override what you care for."""

    def note(self, text: str) -> None:
        """One line for the user: what was found, dropped or decided."""

    def decoding(self, done: int, total: int) -> None:
        """Images decoded so far."""

    def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
        """Before training: wall time in seconds, units of work, trainings and bytes of one step, at most."""

    def training_started(self, record: TrainingRecord) -> None:
        """A training begins; the record has no epochs yet."""

    def epoch_done(self, record: TrainingRecord, epoch: EpochRecord) -> None:
        """An epoch of that training is over."""

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        """A training is over, or failed (`record.error`); `stored` = it was found in the ledger and not repeated."""
