"""Figures about the code's shape: python scripts/count_code.py [SOURCE] (default: src/thawline)."""

from __future__ import annotations

import ast
import re
import statistics
import sys
from pathlib import Path

TRANSLATED = re.compile(r"\b(?:is|are) no\b")
"""Phrases such as "X is no folder", which a native speaker does not write."""


def main() -> None:
    """Print one line per figure."""
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "src/thawline")
    files = sorted(source.rglob("*.py"))
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    lengths = sorted(body_lines(node) for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    names += [node.arg for node in nodes if isinstance(node, ast.arg)]
    keys = [node for node in nodes if isinstance(node, ast.Subscript) and is_string(node.slice)]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    print(f"files: {len(files)}, lines each (median): {statistics.median(map(lines_of, files)):g}")
    print(f"functions: {len(lengths)}; lines, median / 90 % / longest: ", end="")
    print(f"{statistics.median(lengths):g} / {lengths[int(0.9 * len(lengths))]} / {lengths[-1]}")
    print(f"annotations with Any: {names.count('Any')}")
    print(f"subscripts with a string key: {len(keys)}")
    print(f"variables called one: {names.count('one')}")
    print(f'texts with "is no" or "are no": {sum(bool(TRANSLATED.search(text)) for text in texts)}')


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def lines_of(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def is_string(node: ast.expr) -> bool:
    """Whether an expression is a string constant."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


if __name__ == "__main__":
    main()
