"""Counts and suggestions in messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 image`, `1,200 images`, `2 classes`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggestion for an unknown name, to append to a message; empty if no known name is close."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
