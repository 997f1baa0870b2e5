"""What came of a trial, and how it is told from what the command did."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from benchmarks.faults.sandbox import WROTE_OUTSIDE, Ran

Outcome = Literal["held", "noted", "one_line", "traceback", "silent", "hang", "died", "outside"]
OUTCOMES: tuple[Outcome, ...] = ("held", "noted", "one_line", "traceback", "silent", "hang", "died", "outside")
"""held: the answer of the undamaged run. noted: another one, and a line that says why. one_line: refused with exit code
1 or 2 and one line. traceback: Python's words instead of ours. silent: another answer, or no answer, without a word.
hang: out of time. died: ended by a signal that nobody sent. outside: about to write outside its folder."""

GOOD: frozenset[Outcome] = frozenset({"held", "noted", "one_line"})
MUST_HOLD: frozenset[Outcome] = frozenset({"held"})
MUST_REFUSE: frozenset[Outcome] = frozenset({"one_line"})

_NOTE = re.compile(r"damaged|cannot be used|built again|not what|changed since|is missing|cannot be read|ignored", re.I)
_NO_WORDS_OF_OURS = re.compile(r"^(Traceback \(most recent|Aborted|Exception ignored)", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """The outcome of one trial."""

    outcome: Outcome
    detail: str = ""
    """The last line that was said, or what differs."""
    command: str = ""
    """The command that was run on what the trial had prepared."""


@dataclass(frozen=True)
class Trial:
    """One attack, ready to be made in an empty folder."""

    id: str
    """FAMILY-SEED-NUMBER; makes the same trial again."""
    group: str
    """What it is aimed at, for the table."""
    what: str
    """A description in words."""
    attempt: Callable[[Path], Verdict]
    allowed: frozenset[Outcome] = GOOD
    """Outcomes that are right."""


@dataclass(frozen=True)
class Result:
    """One attack and what came of it."""

    id: str
    group: str
    what: str
    outcome: Outcome
    right: bool
    detail: str
    command: str

    @classmethod
    def of(cls, trial: Trial, verdict: Verdict) -> Result:
        """A trial's result."""
        right = verdict.outcome in trial.allowed
        return cls(trial.id, trial.group, trial.what, verdict.outcome, right, verdict.detail, verdict.command)

    def to_dict(self) -> dict[str, object]:
        """Plain JSON types."""
        return asdict(self)


def failure(ran: Ran) -> Verdict | None:
    """The verdict on a command that gave no answer; None if it ended with exit code 0 and no traceback."""
    command, last = shlex.join(["thawline", *ran.argv]), _last_line(ran.said)
    if ran.code is None:
        return Verdict("hang", f"{ran.seconds:.0f} s; {last}", command)
    if ran.code == WROTE_OUTSIDE:
        return Verdict("outside", last, command)
    if ran.code < 0:
        return Verdict("died", f"{signal.Signals(-ran.code).name}; {last}", command)
    if _NO_WORDS_OF_OURS.search(ran.said):
        return Verdict("traceback", last, command)
    return _refusal(ran, command) if ran.code else None


def _refusal(ran: Ran, command: str) -> Verdict:
    """Exit code 1, 2 or 130 is right where exactly one line of ours says why."""
    ours = [number for number, line in enumerate(ran.said.splitlines()) if line.startswith("thawline: ")]
    lines = ran.said.splitlines()
    if not ours:
        usage = "Usage:" in ran.said
        return Verdict("one_line" if usage else "silent", f"exit {ran.code}; {_last_line(ran.said)}", command)
    if ours != [len(lines) - 1]:
        return Verdict("traceback", f"more than one line: {' / '.join(lines[ours[0] :])[:300]}", command)
    return Verdict("one_line", lines[-1], command)


def judge(ran: Ran, answer: Callable[[], object], expected: object) -> Verdict:
    """Compare the command's answer with that of the undamaged run."""
    if (failed := failure(ran)) is not None:
        return failed
    command = shlex.join(["thawline", *ran.argv])
    try:
        given = answer()
    except (OSError, ValueError, LookupError, TypeError) as error:
        return Verdict("silent", f"exit 0, and no answer: {error!r}", command)
    if given == expected:
        return Verdict("held", "", command)
    note = next((line for line in ran.said.splitlines() if _NOTE.search(line)), None)
    return Verdict("noted", note, command) if note else Verdict("silent", difference(given, expected), command)


def difference(given: object, expected: object, where: str = "") -> str:
    """The first place where two answers differ."""
    if isinstance(given, dict) and isinstance(expected, dict):
        for key in (*expected, *(key for key in given if key not in expected)):
            if given.get(key) != expected.get(key):
                return difference(given.get(key), expected.get(key), f"{where}.{key}")
    if isinstance(given, list) and isinstance(expected, list) and len(given) == len(expected):
        for position, (new, old) in enumerate(zip(given, expected, strict=True)):
            if new != old:
                return difference(new, old, f"{where}[{position}]")
    return f"{where or 'answer'}: {str(given)[:80]} instead of {str(expected)[:80]}"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing said"
