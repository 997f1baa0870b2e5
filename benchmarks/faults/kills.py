"""Family `kills`: a run dies at a moment, a file operation or a byte, perhaps more than once, and is resumed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.base import Base, answer_of_run
from benchmarks.faults.hooks import KILLED, Counter, die_at_name, die_at_operation, full_after
from benchmarks.faults.outcomes import MUST_HOLD, Trial, Verdict, failure, judge
from benchmarks.faults.sandbox import Ending, Ran, run

KINDS = ("auto", "biotune", "compare")
AGAIN = 0.5
"""Chance that a resumed run is killed, too."""
SAVING = ("model", "results.json", "comparison.json", "predictions.csv", "plan.json", "history.csv", "report.html")
"""Files published at the end."""

Attack = Callable[[list[str], Path], Ran]


def draw(base: Base, number: int, seed: int) -> Trial:
    """The trial of that number."""
    name = f"kills-{seed}-{number}"
    rng = random.Random(name)
    kind = rng.choice(KINDS)
    first, first_words = _attack(base, kind, rng)
    again = [_attack(base, kind, rng)]
    while rng.random() < AGAIN:
        again.append(_attack(base, kind, rng))
    attacks = [first, *(attack for attack, _ in again)] if rng.random() < AGAIN else [first]
    words = [first_words, *(words for _, words in again)][: len(attacks)]

    def attempt(scratch: Path) -> Verdict:
        for attack in attacks:
            ran = attack(begin_or_resume(base, kind, scratch), scratch)
            if ran.code not in (KILLED, -9) and (failed := failure(ran)):
                return failed
        return finish(base, kind, scratch)

    return Trial(name, kind, f"{kind} killed {', then '.join(words)}, then resumed", attempt, MUST_HOLD)


def begin_or_resume(base: Base, kind: str, scratch: Path) -> list[str]:
    """The command that continues; a run killed before it was one is started anew."""
    if (scratch / "run" / "run.json").exists():
        return list(base.reading("resume").argv)
    return base.begin(kind)


def finish(base: Base, kind: str, scratch: Path) -> Verdict:
    """Continue to the end and compare with the run that nothing disturbed."""
    ran = run(begin_or_resume(base, kind, scratch), scratch)
    return judge(ran, lambda: answer_of_run(scratch), base.expected(kind, "resume"))


def _attack(base: Base, kind: str, rng: random.Random) -> tuple[Attack, str]:
    operations, size, seconds = base.size(kind)
    where = rng.choice(("time", "operation", "byte", "saving"))
    if where == "time":
        after = rng.uniform(0, seconds)
        return lambda argv, folder: run(argv, folder, ending=Ending(after)), f"after {after:.2f} s"
    if where == "saving":
        file = rng.choice(SAVING)
        return lambda argv, folder: run(argv, folder, hook=die_at_name(f"/{file}")), f"before {file} is published"
    if where == "operation":
        position = rng.randint(1, operations)
        return (
            lambda argv, folder: run(argv, folder, hook=die_at_operation(position, Counter())),
            f"at file operation {position}",
        )
    limit = rng.randrange(size)
    return lambda argv, folder: run(argv, folder, hook=full_after(limit, Counter(), dies=True)), f"at byte {limit}"
