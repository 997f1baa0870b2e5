"""The families of trials by name, and the loop that makes trials and gathers what came of them."""

from __future__ import annotations

import functools
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import damage, full_disk, fuzz, kills, models, names, signals, streams
from benchmarks.faults.base import Base
from benchmarks.faults.outcomes import OUTCOMES, Result, Trial, Verdict
from benchmarks.faults.sandbox import apart

BLOCK = 500
"""Fuzzed inputs in one child."""
BLOCK_SECONDS = 240.0


@dataclass(frozen=True)
class Family:
    """One kind of attack."""

    draw: Callable[[Base, int, int], Trial]
    """Makes the trial of a number, from 0, and a seed."""
    in_blocks: bool = False
    """Whether a trial is a mere function call, so that many of them share one child."""


FAMILIES: Mapping[str, Family] = {
    "damage": Family(damage.draw),
    "fuzz": Family(fuzz.draw, in_blocks=True),
    "kills": Family(kills.draw),
    "full_disk": Family(full_disk.draw),
    "models": Family(models.draw),
    "names": Family(names.draw),
    "streams": Family(streams.draw),
    "signals": Family(signals.draw),
}


def run_family(base: Base, family: str, numbers: Sequence[int], seed: int, seconds: float) -> Iterator[Result]:
    """Make the trials of these numbers, as far as the time reaches."""
    until = time.monotonic() + seconds
    chosen = FAMILIES[family]
    size = BLOCK if chosen.in_blocks else 1
    for start in range(0, len(numbers), size):
        if time.monotonic() > until:
            return
        trials = [chosen.draw(base, number, seed) for number in numbers[start : start + size]]
        yield from _in_a_block(base, trials) if chosen.in_blocks else [attempt(base, trial) for trial in trials]


def attempt(base: Base, trial: Trial) -> Result:
    """Make one trial in an empty folder, which is removed afterwards."""
    scratch = _scratch(base, trial.id)
    try:
        return Result.of(trial, trial.attempt(scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _in_a_block(base: Base, trials: Sequence[Trial]) -> Iterator[Result]:
    """Make trials in one child; where it ends too early, the trial that it was at is to blame."""
    left = list(trials)
    while left:
        scratch = _scratch(base, left[0].id)
        ran = apart(functools.partial(_write_results, left, scratch), scratch, seconds=BLOCK_SECONDS)
        path = scratch / "results.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        yield from (Result(**json.loads(line)) for line in lines)
        del left[: len(lines)]
        if left:
            how = Verdict("hang") if ran.code is None else Verdict("died", f"exit {ran.code}; {ran.said[-200:]}")
            yield Result.of(left.pop(0), how)
        shutil.rmtree(scratch, ignore_errors=True)


def _write_results(trials: Sequence[Trial], scratch: Path) -> int:
    with (scratch / "results.jsonl").open("w") as stream:
        for trial in trials:
            folder = scratch / trial.id
            folder.mkdir()
            stream.write(json.dumps(Result.of(trial, trial.attempt(folder)).to_dict()) + "\n")
            stream.flush()
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _scratch(base: Base, name: str) -> Path:
    folder = base.root / "trials" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def summary(results: Sequence[Result]) -> dict[str, object]:
    """Counts by outcome, in all and by what was aimed at, and an example of every kind of bad outcome."""
    groups: dict[str, Counter[str]] = {}
    for result in results:
        groups.setdefault(result.group, Counter())[result.outcome] += 1
    wrong = [result for result in results if not result.right]
    return {
        "trials": len(results),
        "wrong": len(wrong),
        "outcomes": _counts(Counter(result.outcome for result in results)),
        "by_target": {group: _counts(counts) for group, counts in sorted(groups.items())},
        "examples": [{**result.to_dict(), "again": again(result.id)} for result in one_of_each_kind(wrong)],
    }


def one_of_each_kind(results: Iterable[Result]) -> Iterator[Result]:
    """The first of all results that have the target, the outcome and what was said in common, numbers apart."""
    seen = set()
    for result in results:
        kind = (result.group, result.outcome, re.sub(r"[-0-9.]+", "", result.detail)[:40])
        if kind not in seen:
            seen.add(kind)
            yield result


def again(name: str) -> str:
    """The command that makes a trial once more."""
    return f"python -m benchmarks.faults --only {name}"


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {outcome: counts[outcome] for outcome in OUTCOMES if counts.get(outcome)}
