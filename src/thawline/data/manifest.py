"""Manifests: CSV or TSV tables with the columns path, label and, optionally, split and group."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper
from pathlib import Path

from thawline.data.class_names import class_name, spelling_notes
from thawline.errors import DataError
from thawline.reading import open_regular
from thawline.spreadsheet import from_cell

MANIFEST_ENDINGS = (".csv", ".tsv")

_ALIASES = {
    "path": ("path", "file", "file_name", "filename", "file_path", "filepath", "image", "image_path", "image_name"),
    "label": ("label", "class", "class_name", "category", "target"),
    "split": ("split", "subset", "set"),
    "group": ("group", "group_id"),
}


@dataclass(frozen=True)
class Row:
    """One line of a manifest, as text."""

    where: str
    """File and line, for errors."""
    path: Path
    """Absolute or relative to the working directory, not to the manifest."""
    label: str
    split: str | None
    group: str | None


def read_manifest(manifest: Path) -> tuple[list[Row], list[str]]:
    """The rows, and notes about columns that were not used and similar labels.

    Paths are relative to the manifest. A .csv is separated by commas or semicolons; the text must be UTF-8. Column
    names are those of `_ALIASES`, in any case. The apostrophe before a formula (see `spreadsheet`) is taken away,
    as splits.csv of a run has it. Raises `DataError`, naming the line.
    """
    try:
        with _opened(manifest) as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(manifest, error) from error
    lines = _lines(manifest, text)
    header = next(lines, (0, []))[1]
    columns = _columns(manifest, header)
    filled = [(number, cells) for number, cells in lines if any(cells)]
    rows = [_row(manifest, number, cells, header, columns) for number, cells in filled]
    written = {cells[columns["label"]]: row.label for (_, cells), row in zip(filled, rows, strict=True)}
    unused = [name for position, name in enumerate(header) if position not in columns.values()]
    notes = [f"columns not used: {', '.join(map(repr, unused))}"] if unused else []
    return rows, [*notes, *spelling_notes(written)]


def read_paths(manifest: Path) -> Iterator[str]:
    """The paths alone, of a table that needs no other column, one at a time; see `read_manifest`."""
    try:
        with _opened(manifest) as stream:
            first = stream.readline()
            stream.seek(0)
            lines = _rows(manifest, stream, first)
            header = next(lines, (0, []))[1]
            column = _columns(manifest, header, required=("path",))["path"]
            for number, cells in lines:
                if any(cells):
                    _require_complete(manifest, number, cells, header)
                    yield str(manifest.parent / from_cell(cells[column]))
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(manifest, error) from error


def _opened(manifest: Path) -> TextIOWrapper:
    """The text of a regular file, line ends as they are; a pipe would block, and a device never end."""
    return TextIOWrapper(BufferedReader(open_regular(manifest)), "utf-8-sig", newline="")


def _lines(manifest: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line number (of the row's last line, from 1) and cells of each row."""
    return _rows(manifest, io.StringIO(text, newline=""), text.split("\n", 1)[0])


def _rows(manifest: Path, lines: Iterable[str], first: str) -> Iterator[tuple[int, list[str]]]:
    semicolons = first.count(";") > first.count(",")
    delimiter = "\t" if manifest.suffix.lower() == ".tsv" else ";" if semicolons else ","
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{str(manifest)!r}, line {reader.line_num}: malformed CSV ({error}).") from error


def _unreadable(manifest: Path, error: Exception) -> DataError:
    return DataError(f"{str(manifest)!r} cannot be read ({error}); it must be a UTF-8 text file.")


def _columns(manifest: Path, header: Sequence[str], required: Collection[str] = ("path", "label")) -> dict[str, int]:
    """Position of each column by its meaning."""
    names = [name.strip().lower().replace(" ", "_").replace("-", "_") for name in header]
    columns = {}
    for meaning, aliases in _ALIASES.items():
        found = [position for position, name in enumerate(names) if name in aliases]
        if len(found) > 1:
            both = " and ".join(repr(header[position]) for position in found)
            raise DataError(f"{str(manifest)!r}: the columns {both} both mean the {meaning}; keep one of them.")
        if found:
            columns[meaning] = found[0]
        elif meaning in required:
            raise DataError(
                f"{str(manifest)!r} has no {meaning} column: the header must contain one of "
                f"{', '.join(aliases)}; it has {', '.join(map(repr, header)) or 'nothing'}."
            )
    return columns


def _row(manifest: Path, number: int, cells: Sequence[str], header: Sequence[str], columns: dict[str, int]) -> Row:
    where = _require_complete(manifest, number, cells, header)
    values = {meaning: cells[position].strip() for meaning, position in columns.items()}
    for meaning in ("path", "label"):
        if not values[meaning]:
            raise DataError(f"{where} has no {meaning}.")
    return Row(
        where,
        manifest.parent / from_cell(cells[columns["path"]]),
        class_name(from_cell(values["label"])),
        values.get("split") or None,
        from_cell(values.get("group", "")) or None,
    )


def _require_complete(manifest: Path, number: int, cells: Sequence[str], header: Sequence[str]) -> str:
    """File and line, for errors. Raises `DataError` unless there is a cell for every column."""
    where = f"{str(manifest)!r}, line {number},"
    if len(cells) != len(header):
        raise DataError(f"{where} has {len(cells)} cells, but the header has {len(header)}.")
    return where
