"""The inline executor keeps the contract of `concurrent.futures.Executor`."""

from __future__ import annotations

from concurrent.futures import wait

import pytest

from thawline.training.executors import InlineExecutor


def test_a_task_is_done_when_it_is_submitted() -> None:
    with InlineExecutor() as executor:
        future = executor.submit(divmod, 7, 2)
        assert future.done()
        assert wait([future], timeout=0).done == {future}
        assert future.result() == (3, 1)
        assert list(executor.map(abs, [-1, 2])) == [1, 2]


def test_an_error_comes_out_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        InlineExecutor().submit(divmod, 1, 0)
