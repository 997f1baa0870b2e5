"""Strategies that other packages offer through the entry point group `thawline.strategies`.

Standard library only. Reads metadata and source text: nothing of another package is imported before its strategy is
used.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

GROUP = "thawline.strategies"


@dataclass(frozen=True)
class Offer:
    """One entry point: `name = "module:Class"`."""

    name: str
    target: str
    """module:Class"""
    package: str
    """Name of the installed distribution."""

    @property
    def help(self) -> str:
        """The first line of the class's docstring, where it can be read off the source; and where it comes from."""
        summary = _summary(self.target)
        return f"{summary} (from {self.package})" if summary else f"from {self.package}"


def offers() -> tuple[Offer, ...]:
    """What the installed packages offer, in the order of their names; of a package found twice, the first counts."""
    found = {(offer.package, offer.name): offer for offer in reversed(list(_offers()))}
    return tuple(found[key] for key in sorted(found))


def _offers() -> Iterator[Offer]:
    for distribution in distributions():
        try:
            points = distribution.entry_points.select(group=GROUP)
        except (TypeError, ValueError):  # any installed package's entry_points.txt may be damaged
            continue
        for point in points:
            yield Offer(point.name, point.value, distribution.name or "a package without a name")


def _summary(target: str) -> str:
    """First line of a class's docstring; empty if it cannot be found without an import."""
    module, _, name = target.partition(":")
    try:
        body = ast.parse(_source(module)).body
    except (SyntaxError, ValueError, OSError):
        return ""
    docs = (ast.get_docstring(node) for node in body if isinstance(node, ast.ClassDef) and node.name == name)
    return (next(docs, None) or "").partition("\n")[0].rstrip(".")


def _source(module: str) -> str:
    """Source text of a module, empty if there is none; unlike `importlib.util.find_spec`, this imports no parents."""
    for folder in sys.path:
        place = Path(folder, *module.split("."))
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file.read_text(encoding="utf-8")
    return ""
