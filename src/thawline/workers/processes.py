"""Workers in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from importlib import import_module
from typing import Any

from thawline.workers.pool import Pool, Seat


class Processes(Pool):
    """So many workers, each in a process that begins without anything of this one (`spawn`)."""

    def __init__(self, count: int, module: str) -> None:
        """`count` workers, which import `module` at once; each that is lost is replaced."""
        super().__init__()
        self._module = module
        for _ in range(count):
            self.add(_Process(module))

    def _replace(self, seat: Seat) -> None:
        seat.close()
        self.add(_Process(self._module))


class _Process:
    """A worker in a process of its own, which begins at once to import what it needs."""

    def __init__(self, module: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(module,))
        self._number: Future[int] = self._pool.submit(os.getpid)

    @property
    def place(self) -> str:
        """The machine and the process, if it has begun."""
        begun = self._number.done() and not self._number.cancelled() and self._number.exception() is None
        return f"{socket.gethostname()}:{self._number.result() if begun else '?'}"

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Begin a task."""
        return self._pool.submit(function, *args)

    def close(self) -> None:
        """End the process, whatever it does."""
        processes = [*(self._pool._processes or {}).values()]
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            with suppress(OSError, ValueError):  # it has ended
                process.kill()
        for process in processes:
            process.join()


def _begin(module: str) -> None:
    """Leave Ctrl-C to the process that asks, end with it however it ends, and import what jobs need."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import_module(module)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
