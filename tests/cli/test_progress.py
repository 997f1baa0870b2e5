"""What is shown while trainings run."""

from __future__ import annotations

import io

from rich.console import Console

from thawline.cli.progress import ConsoleCallback
from thawline.records import EpochRecord, TrainingRecord


def test_progress_is_wrapped_not_cut_at_eighty_columns() -> None:
    text = io.StringIO()
    terminal = Console(file=text, width=80, force_terminal=True, color_system=None)
    callback = ConsoleCallback(terminal)
    best = EpochRecord(7, 0.1, 0.2, 0.812, 0.812)
    record = TrainingRecord("key", "tuning", "l2_sp:strength=0.001,head_strength=0.01", 3e-4, 0, {}, (best,), 0)
    callback.forecast(840, 12.5, 24, 2**30)
    callback.training_done(record, stored=False)
    callback.epoch_done(record, best)
    text.truncate(0)
    text.seek(0)
    terminal.print(callback._progress.get_renderable())
    words = " ".join(text.getvalue().split())
    assert "l2_sp:strength=0.001,head_strength=0.01 at 3e-4 (tuning): epoch 8, val 0.812; best so far" in words
    assert "at most 14 min left" in words
    assert max(map(len, text.getvalue().splitlines())) <= 80


def test_a_candidate_is_named_by_its_place_in_the_search() -> None:
    text = io.StringIO()
    callback = ConsoleCallback(Console(file=text, width=160))
    best = EpochRecord(7, 0.1, 0.2, 0.812, 0.812)
    record = TrainingRecord("key", "search", "biotune", 1e-3, 0, {}, (best,), 0, generation=3, slot=7, fold=1)
    callback.training_done(record, stored=False)
    assert "biotune generation 3, candidate 7: val 0.812" in text.getvalue()


def test_further_seeds_of_a_candidate_are_told_apart() -> None:
    text = io.StringIO()
    callback = ConsoleCallback(Console(file=text, width=400))
    callback.forecast(60, 2.5, 1, 2**30)
    best = EpochRecord(7, 0.1, 0.2, 0.812, 0.812)
    for seed in (0, 9):
        record = TrainingRecord("key", "search", "auto", 1e-3, seed, {}, (best,), 0, generation=0, slot=7)
        callback.training_done(record, stored=False)
    first, second = text.getvalue().splitlines()[1:]
    assert first.startswith("[1/1] auto generation 0, candidate 7: val 0.812")
    assert second.startswith("[2] auto generation 0, candidate 7, seed 9: val 0.812")
