"""A size-limited cache folder; each entry is a subfolder that is published atomically and verified before use.

An entry contains a seal: its key and the SHA-256 of each of its files, computed while they were written. Entries that
do not match their seal (truncated, overwritten, copied from elsewhere, from an older version) are rebuilt.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from thawline.errors import DataError, remedy
from thawline.reading import digest_of, read_regular

if TYPE_CHECKING:
    from typing import BinaryIO

    from _typeshed import ReadableBuffer

Note = Callable[[str], None]
"""Called with one line for the user."""

Content = TypeVar("Content")


def silent(text: str) -> None:
    """A `Note` that discards its text."""


SEAL = "seal.json"

_BUILDING = ".building-"
_ABANDONED_SECONDS = 24 * 3600
_LARGEST_SEAL = 2**28
_SYNCED_SINGLY = 64
"""Up to this number of files, each is synced separately; beyond it, the whole system is synced, which is faster."""

# What reading a damaged entry may raise; deeply nested JSON raises `RecursionError`.
_UNUSABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, EOFError)


def user_cache() -> Path:
    """The folder for decoded pixels and downloads: $THAWLINE_CACHE, or `thawline` in the user's cache folder."""
    chosen = os.environ.get("THAWLINE_CACHE")
    if chosen:
        return Path(chosen)
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG standard says to ignore empty and relative paths.
    return (base if base.is_absolute() else Path.home() / ".cache") / "thawline"


class DigestWriter:
    """Writes to a stream and computes the SHA-256 of what was written."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._hash = stream, hashlib.sha256()

    def write(self, content: ReadableBuffer) -> int:
        """Write and hash some bytes."""
        self._hash.update(content)
        return self._stream.write(content)

    def hexdigest(self) -> str:
        """SHA-256 of all bytes so far."""
        return self._hash.hexdigest()


def read(cache: Path, key: str, parse: Callable[[Path], Content], note: Note) -> Content | None:
    """Verify an entry and return its folder as read by `parse`; None without such an entry.

    Entries that are damaged (see `verify`), or that `parse` cannot read, are removed, with one line to `note`.
    """
    entry = cache / key
    if not os.path.lexists(entry):
        return None
    try:
        verify(entry, key)
        content = parse(entry)
    except _UNUSABLE as error:
        note(f"The cache entry {str(entry)!r} is damaged ({_reason(error)}) and will be rebuilt.")
        _clear(entry)
        return None
    _touch(entry)
    return content


def verify(entry: Path, key: str) -> None:
    """Compare every file of an entry with its seal.

    Raises `ValueError` if they differ or if the seal has another key, or any error from reading a damaged file.
    """
    digests = sealed(entry, key)
    workers = os.cpu_count() or 1
    parts = [list(digests)[first::workers] for first in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda names: {name: digest_of(entry / name) for name in names}, parts)
        if wrong := sorted(set(digests.items()).difference(*(part.items() for part in found))):
            raise ValueError(f"{wrong[0][0]} has changed since it was written")


@contextlib.contextmanager
def building(cache: Path) -> Iterator[Path]:
    """A temporary folder to build an entry in, removed on any error. End with `publish`.

    Raises `DataError` if the cache is not writable.
    """
    folder = cache / f"{_BUILDING}{secrets.token_hex(8)}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder.mkdir()  # with the permissions of the user's umask, so that others can read a shared cache
        yield folder
    except OSError as error:
        raise _unwritable(cache, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(
    folder: Path, cache: Path, key: str, digests: Mapping[str, str] | None = None, *, replace: bool = False
) -> Path:
    """Seal a finished entry, sync it to disk and rename it into place.

    `digests` are the SHA-256 of files that were hashed while they were written; other files are read to hash them. If
    another process was faster, its entry is kept, since the content is the same, unless `replace` is true.
    """
    _write_seal(folder, key, digests or {})
    _sync(folder)
    entry = cache / key
    try:
        folder.replace(entry)
    except OSError:
        if not replace and _is_intact(entry, key):
            return entry
        _clear(entry)
        folder.replace(entry)
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


def sealed(entry: Path, key: str) -> dict[str, str]:
    """SHA-256 by file name, from the seal; raises as `verify` does, but does not read the files."""
    try:
        seal = json.loads(read_regular(entry / SEAL, _LARGEST_SEAL))
    except FileNotFoundError:
        raise ValueError(f"it has no {SEAL}") from None
    if seal["key"] != key:
        raise ValueError("its seal has another key")
    return {str(name): str(digest) for name, digest in seal["files"].items()}


def _write_seal(folder: Path, key: str, known: Mapping[str, str]) -> None:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / SEAL]
    names = [path.relative_to(folder).as_posix() for path in files]
    digests = {name: known.get(name) or digest_of(path) for name, path in zip(names, files, strict=True)}
    (folder / SEAL).write_text(json.dumps({"key": key, "files": digests}, indent=0), encoding="utf-8")


def _is_intact(entry: Path, key: str) -> bool:
    try:
        verify(entry, key)
    except _UNUSABLE:
        return False
    return True


def _sync(folder: Path) -> None:
    """Sync the files, so that a power failure cannot leave a published entry with missing content."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    if len(paths) > _SYNCED_SINGLY and hasattr(os, "sync"):
        os.sync()
        return
    for path in paths:
        with path.open("r+b") as stream:
            os.fsync(stream.fileno())


def _clear(entry: Path) -> None:
    """Remove whatever has the name of an entry, or at least rename it if it cannot be deleted."""
    aside = entry.with_name(f"{_BUILDING}{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):
        entry.rename(aside)
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()


def _is_entry(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def _touch(entry: Path) -> None:
    with contextlib.suppress(OSError):  # a read-only cache is still readable
        os.utime(entry)


def _last_use(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0


def _age(folder: Path) -> float:
    newest = max((_last_use(path) for path in folder.glob("*")), default=_last_use(folder))
    return time.time() - newest


def _size(entry: Path) -> int:
    sizes = 0
    for path in entry.glob("*"):
        with contextlib.suppress(OSError):  # another process has removed it
            sizes += path.stat().st_size
    return sizes


def _unwritable(cache: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write to the cache folder {str(cache)!r} ({_reason(error)}); {remedy(error)}, or set "
        "THAWLINE_CACHE to another folder."
    )


def _reason(error: BaseException) -> str:
    """The error in one line, without the path, which the message already names."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:200].rstrip(".") or type(error).__name__
