"""Budgets: what the text means, what is left, and that time decides a resumed search as it did before."""

from __future__ import annotations

import math

import pytest

from thawline.errors import OptionError
from thawline.search.budget import CandidateLimit, TimeLimit, WorkLimit
from thawline.strategies.auto import Budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("5x", Budget(5, "work")),
        ("2.5 x", Budget(2.5, "work")),
        ("30m", Budget(1800, "seconds")),
        ("2h", Budget(7200, "seconds")),
        ("90s", Budget(90, "seconds")),
        ("40candidates", Budget(40, "candidates")),
        ("1candidate", Budget(1, "candidates")),
    ],
)
def test_a_budget_is_work_time_or_candidates(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "5", "x", "0.5x", "0m", "-3x", "5 units", "1e3x", "40 plans", "0.5candidates"])
def test_other_budgets_are_one_clear_line(text: str) -> None:
    with pytest.raises(OptionError, match="`budget` must be full fine-tunings") as caught:
        Budget.parse(text)
    assert "\n" not in str(caught.value)


def test_work_and_candidates_count_down() -> None:
    assert WorkLimit(5.0).left(1.5, 0.0) == 3.5
    assert WorkLimit(5.0).candidates_left(1000) == math.inf
    assert CandidateLimit(40).left(1e9, 0.0) == math.inf
    assert CandidateLimit(40).candidates_left(38) == 2


def test_time_is_converted_to_work_at_the_pace_so_far() -> None:
    now = [0.0]
    limit = TimeLimit(100.0, 10.0, [], clock=lambda: now[0])
    assert limit.left(0.0, 0.0) == pytest.approx(10)
    now[0] = 50.0  # two units in 50 s, and ten seconds assumed for one more
    assert limit.left(2.0, 0.0) == pytest.approx(50 / 20)
    now[0] = 101.0
    assert limit.left(3.0, 0.0) < 0


def test_a_resumed_search_gets_the_answers_it_got_before_and_its_clock_goes_on() -> None:
    now, journal = [0.0], []  # type: ignore[var-annotated]
    first = TimeLimit(100.0, 10.0, journal, clock=lambda: now[0])
    now[0] = 40.0
    answer = first.left(1.0, 0.0)
    now[0] = 1000.0
    again = TimeLimit(100.0, 10.0, journal, clock=lambda: now[0])
    assert again.left(1.0, 0.0) == answer
    now[0] = 1010.0
    assert journal == [(answer, 40.0)]
    again.left(2.0, 0.0)
    assert journal[-1][1] == 50.0


def test_trainings_that_were_made_before_count_as_time() -> None:
    """After the last decision of an interrupted search, or by another row of a comparison."""
    limit = TimeLimit(100.0, 10.0, [(5.0, 40.0)], clock=lambda: 0.0)
    limit.left(1.0, 30.0)
    limit.left(2.0, 60.0)
    assert limit.journal[-1][1] == 60.0
