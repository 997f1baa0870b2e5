"""Spellings of class names: which are the same class, and which only look the same. Standard library only."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping


def class_name(written: str) -> str:
    """The normal form of a name: Unicode NFC, because some systems store file names decomposed."""
    return unicodedata.normalize("NFC", written)


def spelling_notes(names: Mapping[str, str]) -> list[str]:
    """One line for each group of similar spellings, which are either merged into one class or remain different classes.

    `names` maps the spellings in the data to classes.
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
    """A form that is equal for names that differ only by case, spaces, invisible characters or Unicode form."""
    return _spaces(_visible(unicodedata.normalize("NFKC", name)).casefold())


def _spaces(name: str) -> str:
    return " ".join(name.split())


def _visible(name: str) -> str:
    return "".join(letter for letter in name if unicodedata.category(letter) != "Cf")


def _difference(names: Iterable[str]) -> str:
    """What distinguishes the names: the first normalization that makes them equal."""
    steps = {
        "Unicode form": lambda name: unicodedata.normalize("NFC", name),
        "surrounding or repeated spaces": _spaces,
        "case": str.casefold,
    }
    for what, step in steps.items():
        if len({step(class_name(name)) for name in names}) == 1:
            return what
    return "case, spaces, invisible or compatible characters"
