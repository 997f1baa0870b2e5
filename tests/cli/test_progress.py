"""What is shown while trainings run."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from thawline.cli.progress import ConsoleCallback
from thawline.plan import FineTunePlan, Ingredient, Mixture, Phase
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
    assert "about 14 min left" in words
    assert max(map(len, text.getvalue().splitlines())) <= 80


def test_a_solved_probe_has_neither_a_rate_nor_epochs() -> None:
    text = io.StringIO()
    callback = ConsoleCallback(Console(file=text, width=400, force_terminal=True, color_system=None))
    solved = EpochRecord(0, 0.1, 0.2, 0.515, 0.515)
    record = TrainingRecord("key", "final", "linear_probe", 0.0, 0, {}, (solved,), 0)
    callback.epoch_done(record, solved)
    (task,) = callback._progress.tasks
    assert task.description == "linear_probe (seed 0)"
    assert task.fields["status"].startswith("solved, val 0.515;")
    assert lines_after(record)[-1].startswith("[1] linear_probe (seed 0): val 0.515 (solved); best so far 0.515")


def test_a_mixture_is_called_what_it_is() -> None:
    mixed = EpochRecord(0, 0.1, 0.2, 0.715, 0.715)
    alone = FineTunePlan((Phase({"body": None, "head": 1e-3}),))
    for of, words in (("weights", "mean weights of 2 trainings"), ("outputs", "mean output of 2 networks")):
        plan = replace(alone, mixture=Mixture(of, (Ingredient(alone, 1),)))  # type: ignore[arg-type]
        record = TrainingRecord("key", "tuning", "auto", 3.16e-4, 0, plan.to_dict(), (mixed,), 0)
        assert lines_after(record)[-1].startswith(f"[1] {words} (tuning): val 0.715; best so far 0.715")


def test_a_distilled_network_is_a_training() -> None:
    epochs = tuple(EpochRecord(number, 0.1, 0.2, 0.715, 0.715) for number in range(3))
    alone = FineTunePlan((Phase({"body": None, "head": 1e-3}),))
    plan = replace(alone, mixture=Mixture("distilled", (Ingredient(alone, 1),)))
    record = TrainingRecord("key", "tuning", "auto", 1e-3, 0, plan.to_dict(), epochs, 2)
    said = "[1] trained once more on the mean output of 2 candidates (tuning): val 0.715 after 3 epochs;"
    assert lines_after(record)[-1].startswith(said)
    text = io.StringIO()
    callback = ConsoleCallback(Console(file=text, width=400, force_terminal=True, color_system=None))
    callback.epoch_done(record, epochs[1])
    assert callback._progress.tasks[0].fields["status"].startswith("epoch 2, val 0.715;")


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
    assert first.startswith("[1] auto generation 0, candidate 7: val 0.812")
    assert second.startswith("[2] auto generation 0, candidate 7, seed 9: val 0.812")


def lines_after(*records: TrainingRecord, trainings: int = 2) -> list[str]:
    text = io.StringIO()
    callback = ConsoleCallback(Console(file=text, width=400))
    callback.forecast(60, 2.5, trainings, 2**30)
    for record in records:
        callback.training_done(record, stored=False)
    return text.getvalue().splitlines()


def trained(val: float, *, seed: int = 0, slot: int = 7, **others: Any) -> TrainingRecord:
    epoch = EpochRecord(7, 0.1, 0.2, val, val)
    usual = {"generation": 0, "slot": slot}
    return TrainingRecord(f"{slot} {seed}", "search", "auto", 1e-3, seed, {"slot": slot}, (epoch,), 0, **usual | others)


@pytest.mark.parametrize("trainings", [1, 2, 50])
def test_the_counter_never_claims_a_total_that_may_be_wrong(trainings: int) -> None:
    """Neither [54] after /53 nor an end at 29 of 61: nobody knows the number before the search is over."""
    _, *lines = lines_after(*(trained(0.5, slot=slot) for slot in range(4)), trainings=trainings)
    assert [line.split()[0] for line in lines] == ["[1]", "[2]", "[3]", "[4]"]


def test_a_bar_without_a_total_does_not_keep_that_of_decoding() -> None:
    callback = ConsoleCallback(Console(file=io.StringIO(), width=80, force_terminal=True))
    callback.decoding(10, 10)
    callback.training_started(trained(0.5))
    (task,) = callback._progress.tasks
    assert (task.total, task.percentage) == (None, 0)


def test_the_best_so_far_is_the_mean_where_a_plan_has_several_seeds() -> None:
    *_, first, second, third = lines_after(trained(0.7), trained(0.66, seed=1), trained(0.69, seed=2))
    assert "best so far 0.700 (one training)" in first
    assert "best so far 0.680 (mean over 2 seeds)" in second
    assert "best so far 0.683 (mean over 3 seeds)" in third


def test_a_failed_training_is_not_the_best() -> None:
    *_, line = lines_after(trained(0.7, error="the loss became nan"))
    assert "no result yet" in line


@pytest.mark.parametrize(
    ("units", "trainings", "words"),
    [
        (0.004, 1, "1 training, less work than 0.1 full fine-tunings"),
        (5.0, 53, "about 53 trainings, as much work as 5.0 full fine-tunings"),
    ],
)
def test_the_forecast_is_english_and_not_zero(units: float, trainings: int, words: str) -> None:
    text = io.StringIO()
    ConsoleCallback(Console(file=text, width=400)).forecast(5, units, trainings, 2**30)
    assert words in text.getvalue()
