"""An executor whose workers are handed one task at a time, and only once they are there.

Where a worker is lost, only the task that it had is: its future gets a `LostWorkerError`, and another worker takes the
place. Whoever submitted the task decides whether to try again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class LostWorkerError(BrokenExecutor):
    """The worker that had the task is gone: killed, out of memory, or its machine is."""

    def __init__(self, place: str, error: BaseException | None) -> None:
        self.place = place
        """Where the worker was."""
        self.reason = " ".join(str(error).split())[:200] or type(error).__name__
        """What its executor said."""
        super().__init__(f"the worker {place} is gone ({self.reason})")


class Seat(Protocol):
    """A place for one worker."""

    @property
    def place(self) -> str:
        """Where the worker is, in words: the machine and the process."""
        ...

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Begin the worker's next task; its future fails with an error of `losses` where the worker is gone."""
        ...

    def close(self) -> None:
        """End the worker, whatever it does."""
        ...


@dataclass(frozen=True)
class Stint:
    """One task on one worker, by the clock of the process that asks."""

    place: str
    submitted: float
    """Seconds since the epoch."""
    began: float
    ended: float
    lost: bool


@dataclass(eq=False)
class _Task:
    function: Callable[..., Any]
    args: tuple[Any, ...]
    group: str = ""
    future: Future[Any] = field(default_factory=Future)
    submitted: float = field(default_factory=time.time)


class Pool(Executor):
    """Hands tasks, group by group in their order, to workers that are there and have nothing to do.

    Subclasses open seats, and replace those that are lost.
    """

    losses: tuple[type[BaseException], ...] = (BrokenExecutor,)
    """Errors of a seat's future that mean that its worker is gone."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._queue: deque[_Task] = deque()
        self._idle: list[Seat] = []
        self._busy: dict[int, tuple[Seat, _Task]] = {}
        self._closed = False
        self._why_no_more: BaseException | None = None
        self._clerk = ThreadPoolExecutor(1, "thawline-workers")
        """Does what follows when a task ends; not the threads of the libraries that say so, which must not wait."""
        self.stints: list[Stint] = []
        """Every task that ended, in the order of their ends."""

    @property
    def size(self) -> int:
        """Workers that are there."""
        with self._lock:
            return len(self._idle) + len(self._busy)

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As every executor; keyword arguments are not needed here, and not taken."""
        assert not kwargs, "tasks are a function and its arguments"
        return self.submit_for("", function, *args)

    def submit_for(self, group: str, function: Callable[..., R], /, *args: Any) -> Future[R]:
        """Submit a task of a group: workers are shared fairly among groups, so that none waits behind a large one."""
        task = _Task(function, args, group)
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool of workers is closed")
            self._queue.append(task)
            self._hand_out()
            self._refuse()
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all workers at once: whoever waits for a result has it, or does not want it any more."""
        with self._lock:
            self._closed = True
            waiting, self._queue = [*self._queue], deque()
            seats = [*self._idle, *(seat for seat, _ in self._busy.values())]
            self._idle = []
        for task in waiting:
            task.future.cancel()
        for seat in seats:
            seat.close()
        self._clerk.shutdown(wait, cancel_futures=False)

    def add(self, seat: Seat) -> None:
        """A worker is there; it may take tasks."""
        with self._lock:
            if self._closed:
                seat.close()
                return
            self._idle.append(seat)
            self._hand_out()

    def open_no_more(self, error: BaseException) -> None:
        """No further worker can be opened: once there is none, every task fails with a `LostWorkerError`."""
        with self._lock:
            self._why_no_more = error
            self._refuse()

    def _refuse(self) -> None:
        """Fail what waits for workers that will never be there."""
        if self._why_no_more is None or self.size:
            return
        while self._queue:
            task = self._queue.popleft()
            if task.future.set_running_or_notify_cancel():
                self.later(task.future.set_exception, LostWorkerError("that should begin", self._why_no_more))

    def remove(self, gone: Callable[[Seat], bool]) -> list[Seat]:
        """Forget idle workers that are gone, before they are handed a task."""
        with self._lock:
            lost = [seat for seat in self._idle if gone(seat)]
            self._idle = [seat for seat in self._idle if seat not in lost]
            return lost

    def _hand_out(self) -> None:
        while self._queue and self._idle:
            task, seat = self._next(), self._idle.pop(0)
            if task.future.set_running_or_notify_cancel():
                self._start(seat, task)
            else:
                self._idle.insert(0, seat)

    def _next(self) -> _Task:
        """The oldest task of the group with the fewest workers."""
        busy = Counter(task.group for _, task in self._busy.values())
        task = min(self._queue, key=lambda task: busy[task.group])  # of equals the first, which is the oldest
        self._queue.remove(task)
        return task

    def _start(self, seat: Seat, task: _Task) -> None:
        self._busy[id(task)] = (seat, task)
        began = time.time()
        try:
            running = seat.submit(task.function, *task.args)
        except self.losses as error:
            running = Future()
            running.set_exception(error)
        running.add_done_callback(lambda done: self.later(self._ended, seat, task, began, done))

    def later(self, function: Callable[..., object], /, *args: object) -> None:
        """Have something done by the pool's own thread, one after the other, unless the pool was closed."""
        with suppress(RuntimeError):
            self._clerk.submit(function, *args)

    def _ended(self, seat: Seat, task: _Task, began: float, done: Future[Any]) -> None:
        error = done.exception() if not done.cancelled() else BrokenExecutor("the worker was ended")
        lost = isinstance(error, self.losses)
        with self._lock:
            self._busy.pop(id(task), None)
            self.stints.append(Stint(seat.place, task.submitted, began, time.time(), lost))
            if not lost:
                self._idle.append(seat)
                self._hand_out()
        if lost:
            task.future.set_exception(LostWorkerError(seat.place, error))
        elif error is not None:
            task.future.set_exception(error)
        else:
            task.future.set_result(done.result())
        if lost and not self._closed:
            self._replace(seat)

    def _replace(self, seat: Seat) -> None:
        """Close what is left of a lost worker, and open another if there is room."""
        raise NotImplementedError
