"""SHA256SUMS: the digests of a folder's files, which `sha256sum -c SHA256SUMS` compares without thawline, too."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from thawline.errors import ModelError
from thawline.reading import open_regular, read_regular

SUMS_FILE = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_LARGEST = 1 << 20
"""Bytes; a file of a few lines has no more."""


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the digests of these files of `folder`."""
    lines = [f"{file_digest(folder / name)}  {name}\n" for name in names]
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8", newline="")


def check_sums(folder: Path, needed: Iterable[str] = ()) -> None:
    """Compare the files of `folder` with their digests; a folder without SHA256SUMS has nothing to compare.

    Raises `ModelError` if a file is missing or differs, or if the digests are damaged or leave out a `needed` file.
    """
    path = folder / SUMS_FILE
    if not path.exists():
        return
    sums = _read_sums(path)
    if absent := [name for name in needed if name not in sums]:
        raise ModelError(f"{path} is damaged: it has no line for {absent[0]}; {_WAYS_OUT}")
    for name, expected in sums.items():
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name} is missing, but {SUMS_FILE} names it; {_WAYS_OUT}")
        if file_digest(folder / name) != expected:
            raise ModelError(f"{folder / name} is damaged or was changed: {SUMS_FILE} has another digest; {_WAYS_OUT}")


_WAYS_OUT = f"restore the folder, or delete {SUMS_FILE} if you changed it on purpose."


def _read_sums(path: Path) -> Mapping[str, str]:
    """File name -> SHA-256; only files of the folder itself."""
    try:
        lines = read_regular(path, _LARGEST).decode("utf-8").splitlines()
        found = [(match[2], match[1]) for line in lines if (match := _LINE.fullmatch(line))]
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read ({error}); {_WAYS_OUT}") from error
    names = [name for name, _ in found]
    if len(set(names)) != len(lines) or any(Path(name).name != name for name in names):
        raise ModelError(f"{path} is damaged: it is not a list of digests and file names; {_WAYS_OUT}")
    return dict(found)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
