"""Class names as people write them: which spellings are one class, and which only look like one. Standard library."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping


def class_name(written: str) -> str:
    """The one form of a name: Unicode NFC, since some systems store file names decomposed and others do not."""
    return unicodedata.normalize("NFC", written)


def spelling_notes(names: Mapping[str, str]) -> list[str]:
    """One line for each group of spellings that a reader may not tell apart, from written name -> class.

    Either they became one class, or they stay classes of their own.
    """
    written: dict[str, list[str]] = defaultdict(list)
    alike: dict[str, set[str]] = defaultdict(set)
    for name, label in names.items():
        written[label].append(name)
        alike[_loose(label)].add(label)
    merged = [
        f"class {label!r} is written in {len(spellings)} ways that differ only by {_difference(spellings)}: "
        "they are one class"
        for label, spellings in sorted(written.items())
        if len(spellings) > 1
    ]
    apart = [
        f"classes {' and '.join(map(repr, sorted(labels)))} differ only by {_difference(labels)}: they are trained as "
        "different classes; rename them if they are one"
        for _, labels in sorted(alike.items())
        if len(labels) > 1
    ]
    return [*merged, *apart]


def _loose(name: str) -> str:
    """Equal for names that differ by case, spaces, invisible characters or Unicode form only."""
    return _spaces(_visible(unicodedata.normalize("NFKC", name)).casefold())


def _spaces(name: str) -> str:
    return " ".join(name.split())


def _visible(name: str) -> str:
    return "".join(letter for letter in name if unicodedata.category(letter) != "Cf")


def _difference(names: Iterable[str]) -> str:
    """The first of these steps that makes the names equal, together with those before it, says what differs."""
    steps = {
        "Unicode form": lambda name: unicodedata.normalize("NFC", name),
        "surrounding or repeated spaces": _spaces,
        "case": str.casefold,
    }
    for what, step in steps.items():
        if len({step(class_name(name)) for name in names}) == 1:
            return what
    return "case, spaces, invisible or compatible characters"
