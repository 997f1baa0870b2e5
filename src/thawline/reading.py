"""Reads files that may be anything: regular ones only, up to a size limit, and JSON that holds what JSON may hold.

Devices and pipes never end; nested brackets, endless numbers and half characters break what is done with them later.
Standard library only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import stat
from io import FileIO
from pathlib import Path

LARGEST_FILE = 2**30
"""Size limit of image files in bytes; no image within the pixel limit needs more."""
LARGEST_DIGESTED = 2**34
"""Size limit of files that are read to be hashed, in bytes."""
LARGEST_INTEGER = 2**64
"""No number that we store is as large; Python reads integers of any length, and most of what takes them does not."""

_PART = 2**20
_LONGEST_INTEGER = len(str(-LARGEST_INTEGER))
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def is_there(path: Path) -> bool:
    """Whether a path exists; unlike `Path.exists`, False for a name that is too long for the system."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


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
    raise _too_large(limit)


def digest_of(path: Path) -> str:
    """SHA-256 of a regular file as hexadecimal digits; raises `OSError` as `read_regular` does."""
    handle, size = _opened(path)
    with FileIO(handle) as stream:
        if size > LARGEST_DIGESTED:
            raise _too_large(LARGEST_DIGESTED)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def damage(path: Path, sha256: str) -> str:
    """What is wrong with a file that should have this digest, in words; empty = nothing.

    With an empty digest, which means that it is not known, the file only has to be a regular one.
    """
    try:
        found = digest_of(path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if sha256 in ("", found) else "has changed since it was written"


def parse_json(content: bytes | str) -> object:
    """The value of a JSON text in UTF-8; raises `ValueError` for whatever we would never have written.

    That is, besides bad syntax: two values for one key, NaN and infinity, integers beyond 64 bits, surrogates that
    stand for no byte of a file name, and nesting too deep for Python.
    """
    text = content if isinstance(content, str) else content.decode("utf-8")
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_integer, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _ESCAPED_SURROGATE.search(text):
        # Bytes of a file name that are not UTF-8 are escaped like this; other lone surrogates could never be written.
        json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER or abs(number := int(digits)) >= LARGEST_INTEGER:
        raise ValueError(f"an integer of {len(digits)} digits")
    return number


def _finite(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise ValueError(f"{digits[:20]} is beyond the largest number")
    return number


def _too_large(limit: int) -> OSError:
    return OSError(errno.EFBIG, f"larger than {limit >> 20:,} MiB")


def _opened(path: Path) -> tuple[int, int]:
    """Descriptor and size in bytes."""
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "its name has a null character")
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
