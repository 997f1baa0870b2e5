"""Several processes for a moment, connected over the loopback device: copies of this one, so that they start fast."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch.distributed import FileStore  # type: ignore[attr-defined]  # it is public all the same

from thawline.training.processes import Group, together

Result = TypeVar("Result")
LIMIT = timedelta(seconds=60)


def in_group(folder: Path, count: int, work: Callable[[Group], Result]) -> list[Result]:
    """What `work` returns in each of `count` processes that compute together; `folder` is an empty one."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("processes cannot be copied on this system")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_work, args=(folder, rank, count, work)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LIMIT.total_seconds())
    assert [process.exitcode for process in processes] == [0] * count
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


def _work(folder: Path, rank: int, count: int, work: Callable[[Group], Result]) -> None:
    store = FileStore(str(folder / "store"), count)
    with together(store, rank, count, torch.device("cpu"), LIMIT) as group:
        torch.save(work(group), folder / f"{rank}.pt")
