"""Who runs what: processes that were started alike share the cells without knowing of each other.

A process claims a place (a split of a data set) by a lock file, which the system releases however the process ends,
and runs the cells of one group there. Then it looks again from the first group on, so that all data sets have a group
before any has the next one, and what is there at any moment is a table.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.ground.cells import opened, run_cell
from benchmarks.ground.methods import GROUPS, Method
from benchmarks.ground.peers import SkippedError
from benchmarks.ground.schema import CellResult
from benchmarks.ground.settings import Place, Settings
from thawline.records import write_json


@dataclass(frozen=True)
class Job:
    """The methods of one group at one place."""

    place: Place
    methods: tuple[Method, ...]


@dataclass
class Worker:
    """One process at work."""

    settings: Settings
    failed: set[Path] = field(default_factory=set)
    """Cells that ended with an error of the program; not tried again by this process."""
    skipped: set[Path] = field(default_factory=set)
    """Cells that cannot be run now."""

    def work_off(self, jobs: Sequence[Job]) -> None:
        """Run everything that is missing and that no other process is about to run."""
        while any(self._did(job) for job in jobs):
            pass

    def missing(self, job: Job) -> list[Method]:
        """Methods of the job whose cells are still to be run."""
        cells = {method: self.settings.cell(job.place, method) for method in job.methods}
        given_up = self.failed | self.skipped
        return [method for method, cell in cells.items() if not (cell.exists() or cell in given_up)]

    def _did(self, job: Job) -> bool:
        """Run what is missing of a job; False if there was nothing to do, or another process is at its place."""
        if not self.missing(job):
            return False
        with claimed(self.settings.lock(job.place)) as ours:
            # What was missing a moment ago, another process may have run meanwhile.
            methods = self.missing(job) if ours else []
            if methods:
                self._run(job.place, methods)
        return bool(methods)

    def _run(self, place: Place, methods: Sequence[Method]) -> None:
        with ExitStack() as stack:
            with self._going_on(place, methods):
                experiment = stack.enter_context(opened(place, self.settings))
            for method in self.missing(Job(place, tuple(methods))):
                with self._going_on(place, [method]):
                    result = run_cell(experiment, place, method, self.settings)
                    write_json(self.settings.cell(place, method), result)
                    print(_line(result), flush=True)

    @contextmanager
    def _going_on(self, place: Place, methods: Sequence[Method]) -> Iterator[None]:
        """Give up `methods` at an error of the program, with its traceback: the other cells must go on."""
        cells = [self.settings.cell(place, method) for method in methods]
        try:
            yield
        except SkippedError as reason:
            print(f"{', '.join(cell.stem for cell in cells)} on {place.data} skipped: {reason}", flush=True)
            self.skipped.update(cells)
        except Exception:  # noqa: BLE001
            traceback.print_exc()
            self.failed.update(cells)


def jobs(places: Sequence[Place], methods: Sequence[Method]) -> list[Job]:
    """Group by group over all places."""
    grouped = [tuple(method for method in methods if method.group == group) for group in GROUPS]
    found = [
        Job(place, tuple(method for method in group if method.takes(place.data, place.split)))
        for group in grouped
        for place in places
    ]
    return [job for job in found if job.methods]


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether the lock file `path` is ours while the context lasts; never waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _line(cell: CellResult) -> str:
    place = f"{cell.backbone} {cell.set} {cell.split} {cell.method}"
    if cell.test_accuracy is None or cell.seconds is None:
        return f"{place}: {cell.error}"
    return f"{place}: test {cell.test_accuracy:.3f}, work {cell.work:.2f}, {cell.seconds:.0f} s: {cell.chosen}"
