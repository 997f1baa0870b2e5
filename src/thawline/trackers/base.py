"""What all trackers share: names of trainings, the figures of an epoch, and that a failure is a single warning."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from thawline.callback import EVENTS, Callback
from thawline.formatting import rate
from thawline.records import EpochRecord, TrainingRecord


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=2)


class Tracker(Callback):
    """A callback whose failure ends itself, not the run: whatever its methods raise is one warning, and it stops.

    Subclasses override methods of `Callback` as usual.
    """

    failed = False
    """Whether it failed, and is not told of anything any more."""
    tell: Callable[[str], None] = staticmethod(_warn)
    """Where the warning goes."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in vars(cls).keys() & set(EVENTS):
            setattr(cls, name, _harmless(vars(cls)[name]))


def _harmless(method: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(method)
    def told(self: Tracker, *args: object, **kwargs: object) -> None:
        if self.failed:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  # hours of training must not end because of a log
            self.failed = True
            what = " ".join(f"{type(error).__name__}: {error}".split())
            self.tell(f"{type(self).__name__} failed ({what:.300}); the run continues without it.")

    return told


def name_of(record: TrainingRecord) -> str:
    """Purpose, strategy, rate, seed: `tuning full 1e-3 seed 0`, `search auto generation 2 candidate 5 1e-3 seed 0`."""
    place = f" generation {record.generation} candidate {record.slot}" if record.purpose == "search" else ""
    learning_rate = f" {rate(record.learning_rate)}" if record.learning_rate > 0 else ""  # a solved probe has none
    return f"{record.purpose} {record.strategy}{place}{learning_rate} seed {record.seed}"


def figures_of(epoch: EpochRecord) -> dict[str, float]:
    """What is logged of every epoch, of validation where there was one; losses in nats, the rest 0 to 1."""
    figures = {
        "loss/train": epoch.train_loss,
        "loss/val": epoch.val_loss,
        "accuracy/val": epoch.val_accuracy,
        "score/val": epoch.val_score,
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def outcome_of(record: TrainingRecord) -> dict[str, float]:
    """What is logged when a training is over."""
    score, loss = record.score
    best = {"best/val_score": score, "best/val_loss": -loss} if record.best else {}
    return {**best, "cost/work": record.work, "cost/seconds": record.seconds}


def test_scores(results: Any) -> dict[str, float]:
    """Row -> test accuracy, 0 to 1, of all rows of a run that were scored on test; `results` as in `run_ended`."""
    rows = results.rows
    return {row.label: row.test.accuracy.mean for row in rows if getattr(row, "test", None) is not None}
