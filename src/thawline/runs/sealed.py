"""Files of a run with their digests beside them, in SHA256SUMS of the same folder: what was changed since is refused.

A file that SHA256SUMS does not name, as in runs of versions before 0.2, is read as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from thawline.errors import RunFolderError
from thawline.reading import damage, digest_of
from thawline.records import write_bytes
from thawline.sums import SUMS_FILE, WAYS_OUT, read_sums, sums_text

LOCK = ".lock.sums"


@contextmanager
def updating(folder: Path) -> Iterator[None]:
    """Keep other processes from changing files of `folder` and their digests; may be nested."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK, is_singleton=True):
        yield


def publish(path: Path, content: bytes) -> None:
    """Write a file atomically, and its digest.

    The digest of an earlier content goes first: a process that is killed in between leaves a file that is not proved,
    never a right one that looks damaged.
    """
    with updating(path.parent):
        sums = dict(digests(path.parent))
        if sums.pop(path.name, None):
            _write(path.parent, sums)
        write_bytes(path, content)
        _write(path.parent, {**sums, path.name: sha256(content).hexdigest()})


def seal(folder: Path) -> None:
    """Write the digests of all files in a folder that nobody else knows yet: quicker than one after the other."""
    _write(folder, {path.name: digest_of(path) for path in sorted(folder.iterdir())})


def proved(path: Path) -> Path:
    """The same path; raises `RunFolderError` if the file is not the one that its digest was made of."""
    expected = digests(path.parent).get(path.name)
    if expected and (wrong := damage(path, expected)):
        raise RunFolderError(f"{path} {wrong}, says {SUMS_FILE} beside it; {WAYS_OUT}")
    return path


def is_expected(path: Path) -> bool:
    """Whether there is a file, or should be one."""
    return os.path.lexists(path) or path.name in digests(path.parent)


def digests(folder: Path) -> Mapping[str, str]:
    """SHA-256 by file name; empty without SHA256SUMS."""
    return read_sums(folder, RunFolderError) if os.path.lexists(folder / SUMS_FILE) else {}


def _write(folder: Path, sums: Mapping[str, str]) -> None:
    write_bytes(folder / SUMS_FILE, sums_text(sums).encode())
