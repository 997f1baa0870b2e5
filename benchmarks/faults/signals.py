"""Family `signals`: SIGINT, SIGTERM or SIGHUP at a random time, once or twice, then resume."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from benchmarks.faults.base import Base
from benchmarks.faults.kills import KINDS, begin_or_resume, finish
from benchmarks.faults.outcomes import MUST_HOLD, Trial, Verdict, failure
from benchmarks.faults.sandbox import Ending, run


def draw(base: Base, number: int, seed: int) -> Trial:
    """The trial of that number."""
    name = f"signals-{seed}-{number}"
    rng = random.Random(name)
    kind, which = rng.choice(KINDS), rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    times = [rng.uniform(0, base.size(kind)[2]) for _ in range(rng.randint(1, 2))]
    again = rng.choice((None, rng.uniform(0, 0.05)))

    def attempt(scratch: Path) -> Verdict:
        for after in times:
            ran = run(begin_or_resume(base, kind, scratch), scratch, ending=Ending(after, which, again))
            failed = failure(ran)
            if failed is not None and not (ran.code == -which or failed.outcome == "one_line"):
                return failed
            if ran.code == -signal.SIGINT:
                return Verdict("traceback", "ended by SIGINT without a line", failed.command if failed else "")
        return finish(base, kind, scratch)

    words = ", then ".join(f"after {after:.2f} s" for after in times)
    return Trial(
        name, which.name, f"{kind}, {which.name} {words}{' twice' if again else ''}, then resumed", attempt, MUST_HOLD
    )
