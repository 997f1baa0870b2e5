"""Tasks go to workers that are there and idle; a lost worker takes its own task with it, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import Any

import pytest

from thawline.workers.pool import LostWorkerError, Pool, Seat


class Chair:
    """A worker that does its task when the test says so."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.given: list[tuple[Callable[..., Any], tuple[Any, ...], Future[Any]]] = []
        self.closed = False

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        self.given.append((function, args, Future()))
        return self.given[-1][2]

    def close(self) -> None:
        self.closed = True

    def do(self) -> None:
        function, args, future = self.given[-1]
        try:
            future.set_result(function(*args))
        except ValueError as error:
            future.set_exception(error)

    def die(self) -> None:
        self.given[-1][2].set_exception(BrokenExecutor("killed"))


class Chairs(Pool):
    def __init__(self, *chairs: Chair) -> None:
        super().__init__()
        self.replaced: list[Seat] = []
        self.new = Chair("new")
        for chair in chairs:
            self.add(chair)

    def _replace(self, seat: Seat) -> None:
        self.replaced.append(seat)
        self.add(self.new)


def settle(pool: Pool) -> None:
    """Wait until the pool's own thread has done what it was told."""
    done = threading.Event()
    pool.later(done.set)
    assert done.wait(5)


def double(number: int) -> int:
    return 2 * number


def test_a_task_waits_for_a_worker_that_is_there() -> None:
    pool, late = Chairs(), Chair("late")
    future = pool.submit(double, 2)
    assert not future.running()
    pool.add(late)
    late.do()
    assert future.result(5) == 4


def test_an_idle_worker_gets_the_oldest_task_and_no_worker_two() -> None:
    first, second = Chair("first"), Chair("second")
    pool = Chairs(first, second)
    futures = [pool.submit(double, number) for number in range(4)]
    assert [len(first.given), len(second.given)] == [1, 1]
    second.do()
    settle(pool)
    assert [args for _, args, _ in second.given] == [(1,), (2,)]
    assert futures[1].result() == 2
    assert not futures[3].running()
    assert [stint.place for stint in pool.stints] == ["second"]


def test_a_group_does_not_wait_behind_a_large_one() -> None:
    first, second = Chair("first"), Chair("second")
    pool = Chairs(first, second)
    for number in range(4):
        pool.submit_for("large", double, number)
    pool.submit_for("small", double, 10)
    pool.submit_for("small", double, 11)
    assert [args for chair in (first, second) for _, args, _ in chair.given] == [(0,), (1,)]
    for expected in (10, 11, 2):  # a worker for each group, and both for the large one when it is alone
        first.do()
        settle(pool)
        assert first.given[-1][1] == (expected,)


def test_a_tasks_own_error_is_raised_as_itself_and_the_worker_stays() -> None:
    chair = Chair("only")
    pool = Chairs(chair)
    failing = pool.submit(int, "x")
    chair.do()
    with pytest.raises(ValueError, match="invalid literal"):
        failing.result(5)
    settle(pool)
    again = pool.submit(double, 1)
    chair.do()
    assert again.result(5) == 2
    assert not pool.replaced


def test_a_lost_worker_loses_its_task_alone_and_is_replaced() -> None:
    lost, other = Chair("lost"), Chair("other")
    pool = Chairs(lost, other)
    futures = [pool.submit(double, number) for number in range(3)]
    lost.die()
    with pytest.raises(LostWorkerError, match=r"the worker lost is gone \(killed\)") as caught:
        futures[0].result(5)
    assert (caught.value.place, caught.value.reason) == ("lost", "killed")
    settle(pool)
    assert pool.replaced == [lost]
    pool.new.do()
    other.do()
    assert [future.result(5) for future in futures[1:]] == [2, 4]
    assert pool.stints[0].lost


def test_what_was_cancelled_is_not_handed_out() -> None:
    chair = Chair("only")
    pool = Chairs(chair)
    first, second, third = (pool.submit(double, number) for number in range(3))
    assert second.cancel()
    chair.do()
    assert first.result(5) == 0
    settle(pool)
    assert chair.given[-1][1] == (2,)
    assert not third.done()


def test_closing_ends_the_workers_and_cancels_what_waits() -> None:
    chair = Chair("only")
    pool = Chairs(chair)
    pool.submit(double, 1)
    waiting = pool.submit(double, 2)
    pool.shutdown()
    assert waiting.cancelled()
    assert chair.closed
    late = Chair("late")
    pool.add(late)
    assert late.closed, "a worker that comes too late is sent away"
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(double, 3)


def test_where_no_worker_can_be_opened_nothing_waits_for_one() -> None:
    pool = Chairs()
    waiting = pool.submit(double, 1)
    pool.open_no_more(OSError("Cannot allocate memory"))
    for future in (waiting, pool.submit(double, 2)):
        with pytest.raises(LostWorkerError, match="Cannot allocate memory"):
            future.result(5)
    chair = Chair("after all")
    pool.add(chair)
    late = pool.submit(double, 3)
    chair.do()
    assert late.result(5) == 6
