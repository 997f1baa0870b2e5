"""The simulation of benchmarks/workers.py: who waits for what, and for how long."""

from __future__ import annotations

import random

import pytest

from benchmarks.workers import BETWEEN, COUNTS, Training, chained, enough, makespan


@pytest.mark.parametrize(("workers", "rounds"), [(1, 12), (2, 6), (4, 3), (5, 3), (12, 1), (1000, 1)])
def test_trainings_that_wait_for_nothing_fill_the_workers(workers: int, rounds: int) -> None:
    trainings = [Training(1.0) for _ in range(12)]
    assert makespan(trainings, workers) == pytest.approx(rounds * (1 + BETWEEN))


def test_a_stage_waits_for_the_slowest_of_the_one_before() -> None:
    trainings = chained([[Training(1.0), Training(3.0)], [Training(1.0)]])
    assert makespan(trainings, 10) == pytest.approx(4 + 2 * BETWEEN)
    assert makespan(trainings, 1) == pytest.approx(5 + 3 * BETWEEN)


def test_a_row_that_is_a_chain_does_not_wait_behind_a_wide_one() -> None:
    chain = chained([[Training(1.0, row="chain")] for _ in range(4)])
    wide = [Training(1.0, row="wide") for _ in range(4)]
    assert makespan([*wide, *chain], 2) == pytest.approx(4 * (1 + BETWEEN))


def test_losses_and_stragglers_take_time() -> None:
    trainings = [Training(1.0) for _ in range(200)]
    plain = makespan(trainings, 4)
    assert makespan(trainings, 4, random.Random(0), 0.02) > plain
    assert makespan(trainings, 4, random.Random(0)) > plain


def test_enough_is_where_twice_as_many_hardly_help() -> None:
    times = {count: max(100 / count, 10) for count in COUNTS}
    assert enough(times) == 16, "8 -> 16 is still 1.25 times as fast"
