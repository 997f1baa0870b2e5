"""How much of a budget is left."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Meter(Protocol):
    """Tells a search what it may still spend."""

    @property
    def at_once(self) -> int:
        """Candidates that may be begun on one look at what is left."""
        ...

    def left(self, spent: float) -> float:
        """Units of work, when `spent` of them are used up; infinite where work is not counted."""
        ...

    def candidates_left(self, tried: int) -> float:
        """Further plans that may be tried."""
        ...


class Journal(Protocol):
    """Pairs of numbers that are only ever added; a list is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[float, float]: ...

    def append(self, entry: tuple[float, float], /) -> None:
        """Kept when this returns."""
        ...


@dataclass(frozen=True)
class WorkMeter:
    """So many units of work: the same decisions on every machine."""

    amount: float
    at_once: int = sys.maxsize
    """Prices are known beforehand."""

    def left(self, spent: float) -> float:
        """What is not spent."""
        return self.amount - spent

    def candidates_left(self, tried: int) -> float:
        """As many as the work allows."""
        return math.inf


@dataclass(frozen=True)
class CandidateMeter:
    """So many plans, whatever they cost."""

    most: int
    at_once: int = sys.maxsize

    def left(self, spent: float) -> float:
        """Without end."""
        return math.inf

    def candidates_left(self, tried: int) -> float:
        """What is not tried."""
        return self.most - tried


@dataclass
class TimeMeter:
    """So much wall time, told in units of work by how long they took so far.

    What it tells is journalled before anybody acts on it, so that a resumed search decides what this one did.
    """

    seconds: float
    seconds_per_unit: float
    """Before anything is trained."""
    journal: Journal
    """Units left and seconds gone, of every time it was asked."""
    known_seconds: float = 0.0
    """What the trainings of an interrupted search took, as far as they are stored."""
    clock: Callable[[], float] = time.monotonic
    at_once: int = 1
    """What a training takes is known when it has ended."""
    asked: int = 0
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        gone = self.journal[-1][1] if self.journal else 0.0
        self._began = self.clock() - max(gone, self.known_seconds)

    def left(self, spent: float) -> float:
        """What the time allows at the pace so far."""
        self.asked += 1
        if self.asked <= len(self.journal):
            return self.journal[self.asked - 1][0]
        gone = self.clock() - self._began
        # The first trainings, mostly cached probes, say little about the pace of a unit.
        pace = (gone + self.seconds_per_unit) / (spent + 1.0)
        units = (self.seconds - gone) / pace
        self.journal.append((units, gone))
        return units

    def candidates_left(self, tried: int) -> float:
        """As many as the time allows."""
        return math.inf
