"""Workers in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from typing import Any

from thawline.workers.pool import Pool, Seat


class Processes(Pool):
    """So many workers, each in a process that begins without anything of this one.

    On Linux a server imports what they need, once, and forks them all, so that they share the memory of what was
    imported. Elsewhere it is not safe to fork after imports, and each worker imports for itself (`spawn`).
    """

    def __init__(self, count: int, module: str) -> None:
        """`count` workers, which import `module` at once; each that is lost is replaced."""
        super().__init__()
        self._context, self._module = begun_context(module), module
        # The server answers when it has imported. A daemon, so that a command that fails until then ends at once.
        threading.Thread(target=self._open, args=(count,), daemon=True).start()

    def _replace(self, seat: Seat) -> None:
        seat.close()
        self._open(1)

    def _open(self, count: int) -> None:
        for _ in range(count):
            try:
                self.add(_Process(self._context, self._module))
            except (OSError, EOFError) as error:  # no memory, no processes left, or the server is gone
                self.open_no_more(error)
                return


def begun_context(module: str) -> BaseContext:
    """How workers begin; their server, if they have one, imports `module` from now on."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    # Blocked signals are inherited: Ctrl-C must not end an import with a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


class _Process:
    """A worker in a process of its own, which begins at once to import what it needs."""

    def __init__(self, context: BaseContext, module: str) -> None:
        variables = dict(os.environ)  # a server has those of the time when it began
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(module, variables))
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


def _begin(module: str, variables: Mapping[str, str]) -> None:
    """Leave Ctrl-C to the process that asks, end with it however it ends, and import what jobs need."""
    os.environ.clear()
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import_module(module)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
