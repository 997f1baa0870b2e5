"""The docstrings below the fields of a class, read from its source: help texts and reference pages come from them."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise


def field_docs(cls: type) -> dict[str, str]:
    """Field name -> its docstring on one line, inherited fields included; empty where the source is not available."""
    return {name: doc for part in _lineage(cls) for name, doc in _own_docs(part).items()}


def _lineage(cls: type) -> Iterator[type]:
    """Base classes first, of several the first one last. A TypedDict names its bases in `__orig_bases__` only."""
    for base in reversed(getattr(cls, "__orig_bases__", cls.__bases__)):
        if isinstance(base, type):
            yield from _lineage(base)
    yield cls


def _own_docs(cls: type) -> dict[str, str]:
    node = _classes(cls.__module__).get(cls.__name__)
    docs = {}
    for field, below in pairwise(node.body if node else ()):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and (text := _text(below)):
            docs[field.target.id] = text
    return docs


def _text(node: ast.stmt) -> str:
    """A string that stands alone, its lines joined."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return ""
    return " ".join(str(node.value.value).split())


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):  # built-in, or installed without its source
        return {}
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
