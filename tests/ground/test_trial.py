"""The tables of the trial of `auto`, from made-up cells."""

from __future__ import annotations

from typing import Any

from benchmarks.ground.board import TUNED_FULL, Board, Cell
from benchmarks.ground.methods import METHODS
from benchmarks.ground.tables import ANSWER
from benchmarks.ground.trial import ENSEMBLE, best_fixed, claims, trial_tables
from tests.ground.made_up import board, cell

SETS = ("dtd10", "isic5", "mnist")


def row(method: str, *accuracies: float, **facts: Any) -> list[Cell]:
    return [cell(method, data, accuracy, **facts) for data, accuracy in zip(SETS, accuracies, strict=False)]


def made(*rows: list[Cell]) -> Board:
    return board(each for some in rows for each in some)


def test_every_side_of_a_claim_is_a_method_that_runs() -> None:
    complete = made(*(row(method.name, 0.5, 0.5, 0.5) for method in METHODS))
    sides = {side for claim in claims(complete) for side in (claim.first, claim.second)}
    assert sides <= {method.name for method in METHODS}
    assert {ANSWER, ENSEMBLE, TUNED_FULL, "auto", "hf", "fastai"} <= sides


def test_the_best_fixed_way_is_chosen_on_test_and_is_no_search() -> None:
    some = made(
        row("full", 0.5, 0.6, 0.7),
        row("auto_rgn", 0.6, 0.6, 0.7),
        row("layer_decay", 0.9, 0.9),
        row("auto", 0.8, 0.8, 0.8),
        row(ENSEMBLE, 0.9, 0.9, 0.9),
        row("kNN", 0.9, 0.9, 0.9),
        row("hf", 0.9, 0.9, 0.9),
    )
    assert best_fixed(some) == "auto_rgn"


def test_a_claim_holds_if_its_mean_and_its_interval_do() -> None:
    some = made(row("full", 0.5, 0.6, 0.7), row(ANSWER, 0.6, 0.71, 0.8), row(ENSEMBLE, 0.5, 0.6, 0.9))
    claimed, _ = trial_tables(some)
    lines = {line[0]: list(line[1:]) for line in claimed.rows}
    assert lines[f"`{ANSWER}` - `full`"][1:] == [
        "+10.3 (+8.9 to +11.8)",
        "dtd10 +10.0",
        "3/0",
        "at least 0.7, interval above 0",
        "yes",
    ]
    # +0, +0, +20: the mean is above 2 points, its interval is not above 0.
    assert lines[f"`{ENSEMBLE}` - `full`"][-1] == "no"
    assert lines[f"`{ENSEMBLE}` - `{ANSWER}`"][-2:] == ["", ""]


def test_what_is_shown_is_without_what_selection_gave() -> None:
    own = row(ANSWER, 0.6, 0.6, 0.6, val_accuracy=0.65, optimism=0.03, work=4.5, seconds=50.0)
    _, costs = trial_tables(made(row("full", 0.5, 0.5, 0.5), own, row(TUNED_FULL, 0.5, 0.5, 0.5)))
    assert list(costs.rows[0]) == [f"`{ANSWER}`", "3", "60.0", "+2.0", "4.50", "5.83"]


def test_without_auto_there_is_no_trial() -> None:
    assert not trial_tables(made(row("full", 0.5, 0.6, 0.7)))
