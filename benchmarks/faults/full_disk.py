"""Family `full_disk`: after some bytes nothing more can be written; with room again, the run is resumed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults.base import Base
from benchmarks.faults.hooks import Counter, full_after
from benchmarks.faults.kills import KINDS, finish
from benchmarks.faults.outcomes import Trial, Verdict, failure, judge
from benchmarks.faults.sandbox import run

LATER: Sequence[str] = ("report", "evaluate", "explain", "reopen", "check")
"""Commands that write a little into a finished run, or into the cache."""


def draw(base: Base, number: int, seed: int) -> Trial:
    """The trial of that number."""
    name = f"full_disk-{seed}-{number}"
    rng = random.Random(name)
    if rng.random() < 0.4:
        return _later(base, name, rng.choice(LATER), rng.choice((0, rng.randrange(2000), rng.randrange(200_000))))
    kind = rng.choice(KINDS)
    limit = rng.randrange(base.size(kind)[1])

    def attempt(scratch: Path) -> Verdict:
        full = run(base.begin(kind), scratch, hook=full_after(limit, Counter()))
        failed = failure(full)
        if failed is not None and failed.outcome != "one_line":
            return failed
        return finish(base, kind, scratch)

    return Trial(name, kind, f"{kind}, disk full after {limit} bytes, then resumed", attempt)


def _later(base: Base, name: str, reading: str, limit: int) -> Trial:
    def attempt(scratch: Path) -> Verdict:
        base.copy(scratch, "auto")
        command = base.reading(reading)
        full = run(command.argv, scratch, hook=full_after(limit, Counter()))
        failed = failure(full)
        if failed is not None and failed.outcome != "one_line":
            return failed
        again = run(command.argv, scratch)
        return judge(again, lambda: command.answer(scratch, again), base.expected("auto", reading))

    return Trial(name, reading, f"{reading}, disk full after {limit} bytes, then again with room", attempt)
