"""CSV that spreadsheets read as text: one rule for every table that thawline writes, undone by every reader of it.

A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, a tab or a line end. Where text that is not a number
does, behind blanks and quotes too, or behind a `;`, a tab or a line end inside the cell, an apostrophe goes before it:
`=1+1` is written as `'=1+1`, and `'=1+1` as `''=1+1`. Reading takes one apostrophe away at just these places. Every
other cell, and so every table without such a name, is written as it is.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

# Where tables are separated by semicolons, as in most of Europe, a spreadsheet splits our cells at theirs.
_CELL_START = r"(?<![^;\t\r\n])"
# Shortest match first: a long run of tabs would take a time that grows with its square.
_RUNS = r"(?=[\s\"']*?[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])"
_TO_ESCAPE = re.compile(_CELL_START + _RUNS)
_ESCAPED = re.compile(f"{_CELL_START}'{_RUNS}")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


def cell(value: object) -> object:
    """A value as it is written: text that a spreadsheet would run gets apostrophes, numbers stay as they are."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    return _TO_ESCAPE.sub("'", value)


def from_cell(text: str) -> str:
    """The inverse of `cell` for text."""
    return _ESCAPED.sub("", text)


def write_rows(stream: TextIO, rows: Iterable[Sequence[object]], *, ending: str = "\r\n") -> None:
    """Write rows of a table; the stream must not translate line ends."""
    for row in rows:
        line = io.StringIO(newline="")
        csv.writer(line).writerow([*map(cell, row)])  # with another line end, a carriage return would not be quoted
        stream.write(line.getvalue().removesuffix("\r\n") + ending)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]], *, ending: str = "\r\n") -> str:
    """A table with a header."""
    stream = io.StringIO(newline="")
    write_rows(stream, (header, *rows), ending=ending)
    return stream.getvalue()


def read_rows(stream: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Line number (of the row's last line, from 1) and cells of each row; raises `csv.Error`."""
    lines = csv.reader(stream)
    for row in lines:
        yield lines.line_num, [*map(from_cell, row)]
