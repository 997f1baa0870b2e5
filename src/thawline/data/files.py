"""Reads regular files up to a size limit, because devices and pipes never end. Standard library only."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path

LARGEST_FILE = 2**30
"""Size limit of image files in bytes; no image within the pixel limit needs more."""


def open_regular(path: Path) -> FileIO:
    """Open an unbuffered binary stream without blocking; raises `OSError` for anything but a regular file."""
    _require_regular(path.stat())  # opening a device may have side effects
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _require_regular(os.fstat(handle))
    except OSError:
        os.close(handle)
        raise
    return FileIO(handle)


def read_regular(path: Path, limit: int = LARGEST_FILE) -> bytes:
    """The bytes of a regular file; raises `OSError` if there are more than `limit`."""
    with open_regular(path) as stream:
        content = stream.readall() if os.fstat(stream.fileno()).st_size <= limit else b""
        # Files in /proc have content despite a size of 0, and a file may grow while it is read.
        if len(content) > limit or os.fstat(stream.fileno()).st_size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit >> 20:,} MiB")
    return content


def _require_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
