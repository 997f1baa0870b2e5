"""Family `streams`: standard output is closed, full, of a small encoding, or read by `head -1`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from benchmarks.faults.base import Answer, Base, answer_of_run
from benchmarks.faults.outcomes import GOOD, Trial, Verdict, failure, judge
from benchmarks.faults.sandbox import Streams, run

STREAMS: Mapping[str, Streams] = {
    "ascii": Streams(encoding="ascii"),
    "cp1252": Streams(encoding="cp1252"),
    "cp437": Streams(encoding="cp437"),
    "utf-16": Streams(encoding="utf-16"),
    "closed": Streams("closed"),
    "full": Streams("full"),
    "head": Streams("head"),
    "head in ascii": Streams("head", "ascii"),
}
READINGS = ("fit", "fit-text", "resume-text", "report", "predict", "predict-text", "check-text", "evaluate-text")


def draw(base: Base, number: int, seed: int) -> Trial:
    """Every stream with every reading in turn."""
    stream = list(STREAMS)[number % len(STREAMS)]
    offset = random.Random(f"streams-{seed}").randrange(len(READINGS))
    reading = READINGS[(number // len(STREAMS) + number + offset) % len(READINGS)]
    return make(base, f"streams-{seed}-{number}", stream, reading)


def make(base: Base, name: str, stream: str, reading: str, kind: str = "auto") -> Trial:
    """One command with one kind of standard output."""
    verb, _, text = reading.partition("-")
    command = [part for part in base.reading(verb, kind).argv if not (text and part == "--json")]
    killed = "evaluations" if verb == "resume" else None

    def attempt(scratch: Path) -> Verdict:
        if verb != "fit":
            base.copy(scratch, kind, killed)
        ran = run(command, scratch, streams=STREAMS[stream])
        if verb not in ("fit", "resume"):
            left_alone = STREAMS[stream].kind == "head" and ran.code and not ran.said  # as any filter ends
            return Verdict("held") if left_alone else failure(ran) or Verdict("held")
        # A closed pipe must not end a training: whatever the command says, the run is there.
        verdict = judge(ran, lambda: answer_of_run(scratch), base.expected(kind, "resume"))
        if verdict.outcome == "one_line" and not _finished(scratch, base.expected(kind, "resume")):
            return Verdict("silent", f"the run was not finished: {verdict.detail}", verdict.command)
        return verdict

    return Trial(name, f"{stream}", f"{reading} with standard output {stream}", attempt, GOOD)


def _finished(scratch: Path, expected: Answer) -> bool:
    try:
        return answer_of_run(scratch) == expected
    except (OSError, ValueError, StopIteration):
        return False
