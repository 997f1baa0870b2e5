"""Workers of this machine begin with what they import, and with the variables of the moment."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from thawline.workers.pool import LostWorkerError
from thawline.workers.processes import Processes, _Process


def who(variable: str) -> tuple[int, int, str | None]:
    """The process, its parent, and a variable; takes so long that no worker answers twice."""
    time.sleep(0.3)
    return os.getpid(), os.getppid(), os.environ.get(variable)


def answers(count: int, variable: str) -> list[tuple[int, int, str | None]]:
    with Processes(count, "json") as pool:
        futures: list[Future[tuple[int, int, str | None]]] = [pool.submit(who, variable) for _ in range(count)]
        return [future.result(60) for future in futures]


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_workers_are_forked_from_one_process_with_the_variables_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    first = answers(2, "THAWLINE_TEST")
    assert len({process for process, _, _ in first}) == 2
    assert len({parent for _, parent, _ in first} - {os.getpid()}) == 1
    monkeypatch.setenv("THAWLINE_TEST", "later")
    second = answers(1, "THAWLINE_TEST")
    assert [value for *_, value in first + second] == [None, None, "later"]
    assert second[0][1] == first[0][1], "the server is still there"


def test_a_worker_that_cannot_begin_is_an_error_and_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Callable[..., Any]:
        raise OSError("Resource temporarily unavailable")

    monkeypatch.setattr(_Process, "__init__", fail)
    with Processes(2, "json") as pool, pytest.raises(LostWorkerError, match="Resource temporarily unavailable"):
        pool.submit(who, "").result(60)
