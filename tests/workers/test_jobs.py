"""What is lost is tried again, three times in all; what came back is kept before an error goes up."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from thawline.errors import InputError, RunError
from thawline.records import TrainingRecord
from thawline.runs.jobs import Jobs
from thawline.runs.remote import Returned, Setting
from thawline.runs.worker import Job, Outcome
from thawline.workers.machine import UnlikeMachineError
from thawline.workers.pool import LostWorkerError


def job(key: str) -> Job:
    return Job(TrainingRecord(key, "tuning", f"plan {key}", 1e-3, 7, {}))


class Scripted(Executor):
    """Every job ends as its script says: a list of errors, and then its outcome."""

    def __init__(self, **errors: list[BaseException]) -> None:
        self.errors, self.done = errors, list[str]()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        (asked, _), (setting, _) = pickle.loads(args[1]), args
        assert setting == "setting"
        key = asked.record.key
        self.done.append(key)
        if waiting := self.errors.get(key):
            future.set_exception(waiting.pop(0))
        else:
            future.set_result(pickle.dumps(Returned(Outcome(asked.record), (), None, "there", 0.0, 1.0, "")))
        return future


@dataclass
class Kept:
    arrived: list[str] = field(default_factory=list)
    lost: list[tuple[str, int, str, str]] = field(default_factory=list)

    def jobs(self, executor: Executor) -> Jobs:
        return Jobs(
            executor,
            cast("Setting", "setting"),
            lambda returned: self.arrived.append(returned.outcome.record.key),
            lambda job, attempt, place, reason: self.lost.append((job.record.key, attempt, place, reason)),
            lambda: None,
        )


def gone(place: str) -> LostWorkerError:
    return LostWorkerError(place, BrokenExecutor("killed"))


def test_a_job_is_handed_out_once() -> None:
    kept, executor = Kept(), Scripted()
    jobs = kept.jobs(executor)
    jobs.submit(job("a"))
    jobs.submit(job("a"))
    jobs.finish(job("a"))
    assert executor.done == kept.arrived == ["a"]
    assert jobs.count == 0


def test_what_is_lost_is_tried_again_and_every_attempt_is_told() -> None:
    kept, executor = Kept(), Scripted(a=[gone("node 1"), gone("node 2")])
    kept.jobs(executor).finish(job("a"))
    assert kept.arrived == ["a"]
    assert kept.lost == [("a", 1, "node 1", "killed"), ("a", 2, "node 2", "killed")]


def test_three_lost_workers_end_the_run_and_the_rest_is_kept() -> None:
    kept, executor = Kept(), Scripted(a=[gone("node 1"), gone("node 2"), gone("node 3")])
    jobs = kept.jobs(executor)
    jobs.submit(job("b"))
    with pytest.raises(RunError, match=r"plan a \(seed 7\) was lost with its worker 3 times, .* on node 3"):
        jobs.finish(job("a"))
    assert [attempt for _, attempt, _, _ in kept.lost] == [1, 2, 3]
    assert kept.arrived == ["b"]


def test_an_error_of_its_own_is_raised_when_the_job_is_asked_for() -> None:
    kept, executor = Kept(), Scripted(a=[ZeroDivisionError("own")])
    jobs = kept.jobs(executor)
    jobs.submit(job("a"))
    jobs.finish(job("b"))
    assert kept.arrived == ["b"], "nobody has asked for a yet"
    with pytest.raises(ZeroDivisionError, match="own"):
        jobs.finish(job("a"))
    assert executor.done == ["a", "b"], "and it is not tried again"


def test_a_worker_that_cannot_be_used_ends_the_run_at_once() -> None:
    kept, executor = Kept(), Scripted(a=[UnlikeMachineError("torch")])
    jobs = kept.jobs(executor)
    jobs.submit(job("a"))
    with pytest.raises(InputError, match="torch"):
        jobs.finish(job("b"))
    assert kept.arrived == ["b"], "after what is finished was kept"


def test_an_executor_that_is_broken_is_said_in_one_line() -> None:
    class Broken(Executor):
        def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            raise BrokenExecutor("a process died")

    with pytest.raises(
        RunError, match=r"the executor is broken \(a process died\); continue with another one using `thawline resume`"
    ):
        Kept().jobs(Broken()).finish(job("a"))


def test_workers_that_end_as_they_begin_are_said_in_one_line() -> None:
    class Dead(Executor):
        def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(gone("node 1"))
            return future

    with pytest.raises(RunError, match=r"workers exit as soon as they start .*__main__"):
        Kept().jobs(Dead()).check()


def test_closing_keeps_what_is_finished() -> None:
    kept, executor = Kept(), Scripted()
    jobs = kept.jobs(executor)
    jobs.submit(job("a"))
    jobs.close()
    assert kept.arrived == ["a"]
    assert jobs.count == 0


class Broken(Executor):
    """Takes nothing any more."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise BrokenExecutor("its process was killed")


def test_a_broken_executor_ends_the_run_however_often_it_is_asked() -> None:
    jobs = Kept().jobs(Broken())
    for _ in range(2):  # a look ahead swallows the first error
        with pytest.raises(RunError, match="the executor is broken"):
            jobs.finish(job("a"))
    assert jobs.count == 0


def test_an_executor_that_breaks_with_a_job_ends_the_run_however_often_it_is_asked() -> None:
    executor = Scripted(a=[gone("there")])
    jobs = Kept().jobs(executor)
    jobs.submit(job("a"))
    jobs.executor = Broken()
    for _ in range(2):
        with pytest.raises(RunError, match="the executor is broken"):
            jobs.finish(job("a"))
