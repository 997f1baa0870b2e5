"""What counts as a number, and the ranges of numbers, stated in the annotations of the fields that hold them.

`epochs: Annotated[int, Range(1, 1_000_000)]` is all that a field of an option, of a strategy's argument or of a plan
needs: `first_fault` reads it. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from math import isfinite
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

LONGEST = 60
"""Letters of a value that a message shows."""

Number = int | float

_WORDS: Mapping[object, str] = {int: "a whole number", float: "a number", str: "a string", bool: "True or False"}
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,5})?")


@dataclass(frozen=True)
class Range:
    """Finite numbers from `lowest` to `highest`."""

    lowest: float
    highest: float
    note: str = ""
    """Unit, or what an end means; shown in parentheses."""
    above: bool = False
    """Whether `lowest` itself is left out."""
    below: bool = False
    """Whether `highest` itself is left out."""

    def __contains__(self, number: float | None) -> bool:
        if number is None:
            return False
        low = self.lowest < number if self.above else self.lowest <= number
        return low and (number < self.highest if self.below else number <= self.highest)

    def __str__(self) -> str:
        low, high = _written(self.lowest), _written(self.highest)
        ends = f"from {low} to {high}"
        if self.above or self.below:
            ends = f"{'above' if self.above else 'at least'} {low} and {'below' if self.below else 'at most'} {high}"
        return f"{ends} ({self.note})" if self.note else ends


def _written(number: float) -> str:
    return f"{number:,.0f}" if number % 1 == 0 and number < 1e15 else f"{number:g}".replace("e-0", "e-")


class Fault(NamedTuple):
    """A field with a value that cannot be used."""

    name: str
    rule: str
    """What it must be."""
    value: object

    def __str__(self) -> str:
        return f"must be {self.rule}, got {shown(self.value)}."


@dataclass(frozen=True)
class Kind:
    """What a field may hold."""

    types: tuple[Any, ...]
    """int, float, str, bool, a Literal, NoneType; others are not checked."""
    range: Range | None = None

    @property
    def rule(self) -> str:
        """The rule in words, None apart."""
        first = self.types[0]
        if get_origin(first) is Literal:
            return f"one of {', '.join(map(str, get_args(first)))}"
        return f"{_WORDS.get(first, 'another value')}{f' {self.range}' if self.range else ''}"

    def taken(self, value: object) -> object:
        """The value, a number as a plain Python number. Raises `ValueError` if the field may not hold it."""
        for part in self.types:
            if part in (int, float):
                number = plain_number(value, part)
                if number is not None and (self.range is None or number in self.range):
                    return number
            elif _is_of(value, part):
                return value
        raise ValueError


def plain_number(value: object, kind: type) -> Number | None:
    """An `int` or a `float` (which may be whole) from any type of number, numpy's too; None for anything else.

    True is not a number, and neither are NaN, infinity, and what overflows a float. -0.0 becomes 0.0.
    """
    if isinstance(value, bool) or not isinstance(value, Integral if kind is int else Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if isinstance(value, Integral):
        return int(value)
    return number + 0.0 if isfinite(number) else None


def read_number(text: str, kind: type) -> Number | None:
    """A number as people write it, in ASCII digits: `12`, `1e-3`, `.5`; None for anything else, such as `1_000`."""
    pattern = _WHOLE if kind is int else _DECIMAL
    return plain_number(kind(text), kind) if pattern.fullmatch(text) else None


def shown(value: object) -> str:
    """The value in a message, short; Python refuses to print integers of thousands of digits."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def as_text(value: object) -> str:
    """What was written, or a number that stands for it, as the text to read it from."""
    number = plain_number(value, float)
    if number is None:
        return value if isinstance(value, str) else shown(value)
    return f"{number:.0f}" if number == int(number) else str(number)


def first_fault(holder: object) -> Fault | None:
    """The first field of a dataclass whose value is not of its type or out of its range.

    Numbers of other types, such as numpy's, become Python's own in place.
    """
    for name, kind in kinds(type(holder)).items():
        value = getattr(holder, name)
        try:
            plain = kind.taken(value)
        except ValueError:
            return Fault(name, kind.rule, value)
        if plain is not value:
            object.__setattr__(holder, name, plain)
    return None


def kinds(cls: type) -> Mapping[str, Kind]:
    """What each field of a dataclass may hold, for the fields of plain types.

    Empty for a class whose annotations name what only type checkers import.
    """
    return _kinds(cls)


@cache
def _kinds(cls: type) -> Mapping[str, Kind]:
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError:
        return {}
    found = {field.name: _kind(hints[field.name]) for field in fields(cls)}
    return {name: kind for name, kind in found.items() if all(map(_is_plain, kind.types))}


def _kind(hint: Any) -> Kind:
    ranges = [each for each in get_args(hint)[1:] if isinstance(each, Range)] if get_origin(hint) is Annotated else []
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    parts = get_args(bare) if isinstance(bare, UnionType) or get_origin(bare) is Union else (bare,)
    return Kind(parts, ranges[0] if ranges else None)


def _is_plain(part: Any) -> bool:
    return part in (*_WORDS, NoneType) or get_origin(part) is Literal


def _is_of(value: object, part: Any) -> bool:
    if get_origin(part) is Literal:
        return isinstance(value, str) and value in get_args(part)
    return isinstance(value, part)
