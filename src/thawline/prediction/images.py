"""Which images to predict: files, folders, tables and lists of them, as plain text in memory: a million take little."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from io import BufferedReader, TextIOWrapper
from pathlib import Path

from thawline.data.manifest import MANIFEST_ENDINGS, read_paths
from thawline.data.sources import nothing_found
from thawline.data.walk import Ignored, walk_each
from thawline.errors import DataError
from thawline.reading import is_there, open_regular

LIST_ENDING = ".txt"


def image_files(given: Sequence[Path]) -> tuple[list[str], list[Ignored]]:
    """The images in some files, folders, .csv or .tsv tables and .txt lists, each once, sorted; and what was skipped.

    Paths in a table or list are relative to it; those of files that do not exist come, too, and cannot be read then.
    Raises `DataError` if something given does not exist, or if no images are found.
    """
    images: set[str] = set()
    ignored: list[Ignored] = []
    for path in given:
        if not is_there(path):
            raise DataError(f"{str(path)!r} does not exist: pass image files, folders, or a table or list of paths.")
        if path.is_dir():
            for found in walk_each(path):
                if isinstance(found, Ignored):
                    ignored.append(found)
                else:
                    images.add(str(found))
        else:
            images.update(_listed(path))
    if not images:
        raise DataError(nothing_found(ignored, "pass image files, folders, or a table or list of paths."))
    return sorted(images, key=_sort_key), ignored


def _listed(path: Path) -> Iterator[str]:
    ending = path.suffix.lower()
    if ending in MANIFEST_ENDINGS:
        yield from read_paths(path)
    elif ending == LIST_ENDING:
        yield from _lines(path)
    else:
        yield str(path)


def _lines(path: Path) -> Iterator[str]:
    try:
        # A name may have a carriage return inside, so only the one before a line feed belongs to the end of the line.
        with TextIOWrapper(
            BufferedReader(open_regular(path)), "utf-8-sig", errors="surrogateescape", newline="\n"
        ) as stream:
            for line in stream:
                if name := line.removesuffix("\n").removesuffix("\r"):
                    yield str(path.parent / name)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}); it must have one path a line.") from error


def _sort_key(path: str) -> str:
    return path if os.sep == "/" else path.replace(os.sep, "/")
