"""Reads regular files up to a size limit, because devices and pipes never end. Standard library only."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path

LARGEST_FILE = 2**30
"""Size limit of image files in bytes; no image within the pixel limit needs more."""


_PART = 2**20


def open_regular(path: Path) -> FileIO:
    """Open an unbuffered binary stream without blocking; raises `OSError` for anything but a regular file."""
    return FileIO(_opened(path)[0])


def read_regular(path: Path, limit: int = LARGEST_FILE) -> bytes:
    """The bytes of a regular file; raises `OSError` if there are more than `limit`."""
    handle, size = _opened(path)
    try:
        if size <= limit and len(content := _read(handle, size, limit)) <= limit:
            return content
    finally:
        os.close(handle)
    raise OSError(errno.EFBIG, f"larger than {limit >> 20:,} MiB")


def _opened(path: Path) -> tuple[int, int]:
    """Descriptor and size in bytes."""
    _require_regular(path.stat())  # opening a device may have side effects
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        _require_regular(status)
    except OSError:
        os.close(handle)
        raise
    return handle, status.st_size


def _read(handle: int, size: int, limit: int) -> bytes:
    """All bytes, or more than `limit` of them; a file may grow, and those in /proc have content despite a size of 0."""
    parts = [os.read(handle, size + 1)]
    left = limit + 1 - len(parts[0])
    while left > 0 and (part := os.read(handle, min(left, _PART))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _require_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
