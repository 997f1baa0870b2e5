"""A size-limited cache folder; each entry is a subfolder that is published atomically."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from thawline.errors import DataError

_BUILDING = ".building-"
_ABANDONED_SECONDS = 24 * 3600


def user_cache() -> Path:
    """The folder for decoded pixels and downloads: $THAWLINE_CACHE, or `thawline` in the user's cache folder."""
    chosen = os.environ.get("THAWLINE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "thawline"


def find(cache: Path, key: str) -> Path | None:
    """The entry's folder, marked as just used; None if there is no such entry."""
    entry = cache / key
    if not entry.is_dir():
        return None
    _touch(entry)
    return entry


@contextlib.contextmanager
def building(cache: Path) -> Iterator[Path]:
    """A temporary folder to build an entry in, removed on any error. End with `publish`.

    Raises `DataError` if the cache is not writable.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=cache))
    except OSError as error:
        raise _unwritable(cache, error) from error
    try:
        yield folder
    except OSError as error:
        raise _unwritable(cache, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, cache: Path, key: str) -> Path:
    """Rename a finished entry into place. If another process was faster, its entry is kept: the content is the same."""
    entry = cache / key
    try:
        folder.replace(entry)
    except OSError:
        if not entry.is_dir():
            raise
    return entry


def prune(cache: Path, limit_bytes: int, *, keep: Path) -> list[Path]:
    """Remove least recently used entries until `limit_bytes` suffice, and builds abandoned more than a day ago.

    `keep` is never removed. A process that has mapped a removed entry can still read it.
    """
    removed = [folder for folder in cache.glob(f"{_BUILDING}*") if _age(folder) > _ABANDONED_SECONDS]
    entries = sorted((entry for entry in cache.iterdir() if _is_entry(entry)), key=_last_use, reverse=True)
    room = limit_bytes - _size(keep)
    for entry in entries:
        if entry.name == keep.name:
            continue
        room -= _size(entry)
        if room < 0:
            removed.append(entry)
    for folder in removed:
        shutil.rmtree(folder, ignore_errors=True)
    return removed


def _is_entry(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def _touch(entry: Path) -> None:
    with contextlib.suppress(OSError):  # a read-only cache is still readable
        os.utime(entry)


def _last_use(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:  # another process has removed it
        return 0.0


def _age(folder: Path) -> float:
    newest = max((_last_use(path) for path in folder.glob("*")), default=_last_use(folder))
    return time.time() - newest


def _size(entry: Path) -> int:
    sizes = 0
    for path in entry.glob("*"):
        try:
            sizes += path.stat().st_size
        except FileNotFoundError:
            continue
    return sizes


def _unwritable(cache: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write to the cache folder {str(cache)!r} ({error.strerror}); free space there or choose another."
    )
