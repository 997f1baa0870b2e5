"""Faults put into a child before its command starts: it dies at a file operation, or its disk is full."""

from __future__ import annotations

import builtins
import errno
import io
import mmap
import os
import signal
import sys
from collections.abc import Callable
from typing import IO, Any

from benchmarks.faults.sandbox import written

KILLED = 137


class Counter:
    """A number that a child counts and its parent reads."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    def add(self, amount: int) -> int:
        """Count; returns the total."""
        total = self.value + amount
        self._memory[:8] = total.to_bytes(8, "little")
        return total

    @property
    def value(self) -> int:
        """The total."""
        return int.from_bytes(self._memory[:8], "little")


def die_at_operation(number: int | None, counter: Counter) -> Callable[[], None]:
    """Die before the file operation of that number (from 1) that opens for writing, renames, removes or makes a folder.

    None = never: only count.
    """

    def install() -> None:
        def count(event: str, arguments: tuple[object, ...]) -> None:
            if written(event, arguments) and counter.add(1) == number:
                os._exit(KILLED)

        sys.addaudithook(count)

    return install


def die_at_name(name: str) -> Callable[[], None]:
    """Die before a file whose path contains `name` is renamed into place."""
    return _at_name(name, lambda: os._exit(KILLED))


def signal_at_name(name: str, number: signal.Signals = signal.SIGINT) -> Callable[[], None]:
    """Send a signal, Ctrl-C unless told otherwise, before a file whose path contains `name` is renamed into place."""
    return _at_name(name, lambda: os.kill(os.getpid(), number))


def _at_name(name: str, act: Callable[[], object]) -> Callable[[], None]:
    def install() -> None:
        def look(event: str, arguments: tuple[object, ...]) -> None:
            if event == "os.rename" and name in written(event, arguments)[1]:
                act()

        sys.addaudithook(look)

    return install


def full_after(limit: int | None, counter: Counter, *, dies: bool = False) -> Callable[[], None]:
    """No byte beyond the first `limit` can be written to any file: the disk is full, or, if it `dies`, the child ends.

    The write that goes beyond is done in part. None = no limit: only count.
    """

    class Raw(io.FileIO):
        def write(self, content: Any, /) -> int:
            view = memoryview(content).cast("B")
            room = len(view) if limit is None else max(0, min(len(view), limit - counter.value))
            written_bytes = super().write(view[:room]) if room else 0
            counter.add(written_bytes)
            if room < len(view):
                if dies:
                    os._exit(KILLED)
                if not room:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return written_bytes

    return lambda: _replace_open(Raw)


def _replace_open(raw: type[io.FileIO]) -> None:
    """Every file that is opened for writing from now on writes through `raw`."""
    genuine = io.open

    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> IO[Any]:
        if not set(mode) & set("wax+") or isinstance(file, int):
            return genuine(file, mode, buffering, encoding, errors, newline, closefd, opener)
        stream = raw(file, mode.replace("b", "").replace("t", ""), opener=opener)
        if "b" in mode and buffering == 0:
            return stream
        buffer = io.BufferedRandom(stream) if "+" in mode else io.BufferedWriter(stream)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)

    io.open = opened  # type: ignore[assignment]
    builtins.open = opened  # type: ignore[assignment]
