"""Who trains beside this process: processes of this machine, a cluster, or whatever executor the caller has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from thawline.config import WorkerOptions
from thawline.errors import OptionError
from thawline.workers.processes import Processes, begun_context

MODULE = "thawline.runs.remote"
"""What workers import before they are asked anything."""


@dataclass
class Workers:
    """An executor, and what else is to be known of its workers."""

    executor: Executor
    mixed_machines: bool = False
    """Whether they may be unlike this machine."""
    threads: int = 1
    """Of a training, where the run leaves them open."""
    share: Callable[[Any], Any] | None = None
    """Puts something where all workers can read it; returns what has `get`. None = they have only what is on disk."""
    checked: bool = False
    """Whether they could read what a first experiment needs; further ones of the run do not wait for that."""
    need_all: bool = False
    """Whether they have to be sent images and weights."""


@contextmanager
def opened_workers(options: WorkerOptions, executor: Executor | None = None) -> Iterator[Workers | None]:
    """The workers that the options ask for, who end with the context; None = this process alone.

    An `executor` of the caller's takes their place, and stays open.
    """
    if executor is not None:
        if options.are_wanted:
            raise OptionError("`executor` and `workers` or `ray` cannot both be given; leave one of them out.")
        yield Workers(executor, options.mixed_machines)
    elif options.ray is not None:
        from thawline.workers.cluster import Cluster

        with Cluster(options.ray, options.count, options.cpus, options.gpus_per_worker) as cluster:
            yield Workers(cluster, options.mixed_machines, options.cpus, cluster.share)
    elif options.are_wanted:
        with Processes(options.count or max(1, processors() // options.cpus), MODULE) as processes:
            yield Workers(processes, options.mixed_machines, options.cpus)
    else:
        yield None


def expect_workers(options: WorkerOptions) -> None:
    """Have begun what workers of this machine import, while this process still imports for itself."""
    if options.are_wanted and options.ray is None:
        begun_context(MODULE)


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
