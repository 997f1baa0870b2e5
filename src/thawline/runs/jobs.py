"""Jobs that were handed to an executor, and what came back. Used by one thread: that of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field
from typing import TypeAlias

from thawline.errors import InputError, RunError
from thawline.runs.remote import Returned, Setting, pack, perform, prepare, unpack
from thawline.runs.worker import Job
from thawline.workers.pool import Pool

ATTEMPTS = 3
"""Workers that may be lost with one job before the run ends."""

_ERROR_OF_CANCELLED = BrokenExecutor("the executor was shut down")

Key: TypeAlias = str
"""Of the training."""


@dataclass
class Jobs:
    """Submits every job once, keeps what comes back at once, and tries again what was lost with its worker."""

    executor: Executor
    setting: Setting
    arrived: Callable[[Returned], None]
    """Called with everything that comes back, in the order in which it does."""
    lost: Callable[[Job, int, str, str], None]
    """Called with a job that was lost with its worker, the number of the attempt, the place and the reason."""
    micro_batch: Callable[[], int | None]
    """Images that fit into memory at a time, as far as it is known by now."""
    _jobs: dict[Key, Job] = field(default_factory=dict)
    """What was submitted and has not come back."""
    _running: dict[Future[bytes], Key] = field(default_factory=dict)
    _attempts: Counter[Key] = field(default_factory=Counter)
    _errors: dict[Key, BaseException] = field(default_factory=dict)
    """What jobs raised, other than trainings that failed."""

    def check(self) -> None:
        """Have workers read what they need, as many as there are; raises `InputError` if one cannot.

        Those that come later do so before their first job.
        """
        count = max(1, self.executor.size) if isinstance(self.executor, Pool) else 1
        try:
            for future in [self.executor.submit(prepare, self.setting, self.micro_batch()) for _ in range(count)]:
                future.result()
        except BrokenExecutor as error:
            raise RunError(
                f"workers exit as soon as they start ({_words(error)}); a Python script that starts workers must do "
                "so below `if __name__ == '__main__':`, and there must be enough memory for all of them."
            ) from error

    @property
    def count(self) -> int:
        """Jobs that have not come back."""
        return len(self._jobs)

    def submit(self, job: Job) -> None:
        """Hand out a job, unless it is on its way; raises what it raised before."""
        key = job.record.key
        self._raise_error(key)
        if key not in self._jobs:
            self._start(job)
            self._jobs[key] = job

    def finish(self, job: Job) -> None:
        """Hand out a job and wait until it has come back; raises what it raised."""
        self.submit(job)
        self.wait_for({job.record.key})
        self._raise_error(job.record.key)

    def wait_for(self, keys: Collection[Key]) -> None:
        """Wait until one of these jobs is not on its way any more, and keep whatever comes back meanwhile."""
        while self._jobs.keys() >= set(keys):
            self.collect(None)

    def is_waiting(self, key: Key) -> bool:
        """Whether a job is on its way."""
        return key in self._jobs

    def collect(self, timeout: float | None = 0.0) -> None:
        """Keep what came back; waits for the next so many seconds, None = as long as it takes."""
        done, _ = wait(self._running, timeout, FIRST_COMPLETED)
        fatal: BaseException | None = None
        for future in done:  # all of them are kept before an error goes up
            key = self._running.pop(future)
            error = _ERROR_OF_CANCELLED if future.cancelled() else future.exception()
            if error is None:
                del self._jobs[key]
                self.arrived(unpack(future.result()))
            elif isinstance(error, BrokenExecutor):
                fatal = self._again(key, error) or fatal
            else:
                del self._jobs[key]
                self._errors[key] = error
                fatal = error if isinstance(error, InputError) else fatal
        if fatal is not None:
            raise fatal

    def close(self) -> None:
        """Keep what is finished; the rest is not wanted any more."""
        running = [*self._running]
        self.drop()
        for future in running:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.arrived(unpack(future.result()))

    def drop(self) -> None:
        """Ask for nothing more, and forget what is on its way."""
        for future in self._running:
            future.cancel()
        self._running.clear()
        self._jobs.clear()

    def _start(self, job: Job) -> None:
        packed = pack(job, self.micro_batch())
        try:
            if isinstance(self.executor, Pool):
                group = job.record.strategy.partition(":")[0]  # a row of a comparison
                future = self.executor.submit_for(group, perform, self.setting, packed)
            else:
                future = self.executor.submit(perform, self.setting, packed)
        except BrokenExecutor as error:
            raise RunError(
                f"the executor is broken ({_words(error)}); continue with another one using `thawline resume`."
            ) from error
        self._running[future] = job.record.key

    def _raise_error(self, key: Key) -> None:
        if error := self._errors.get(key):
            raise error

    def _again(self, key: Key, error: BrokenExecutor) -> BaseException | None:
        """Try again what was lost; returns the error that ends the run instead, if that was the last attempt."""
        self._attempts[key] += 1
        place, reason = getattr(error, "place", ""), getattr(error, "reason", _words(error))
        job = self._jobs[key]
        self.lost(job, self._attempts[key], place, reason)
        if self._attempts[key] < ATTEMPTS:
            try:
                self._start(job)
            except RunError as broken:
                del self._jobs[key]
                return broken
            return None
        del self._jobs[key]
        record = job.record
        return RunError(
            f"{record.strategy} (seed {record.seed}) was lost with its worker {ATTEMPTS} times, the last time on "
            f"{place or 'an unknown machine'} ({reason}); usually it ran out of memory. Use `thawline resume` with "
            "fewer workers, or start a new run with a smaller `batch_size`."
        )


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
