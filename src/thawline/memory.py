"""Running out of memory, which every library says in its own way, as one error of ours. Standard library only."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from thawline.errors import ThawlineError, TooLittleMemoryError

FREE_MEMORY = "free some memory, or use a smaller model or fewer images"

_WORDS = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|not enough memory|bad_alloc"
    r"|could not create a (memory|primitive)"
    r"|size calculation overflowed|integer multiplication overflow|can't start new thread|failed to map segment"
    r"|error return without exception set",
    re.IGNORECASE,
)
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's allocator, as malloc.h numbers them."""
_MAPPED_FROM = (2**30, 2**25)
"""Bytes from which blocks are mapped one by one. Older versions of glibc refuse more than 32 MiB."""
_KINDS = (RuntimeError, ImportError, SystemError)
"""Besides Python's own: a library that cannot be mapped, and an extension that lost its `MemoryError`."""
_ASKED = re.compile(r"allocate ([0-9]+) bytes|allocate ([0-9.]+ [KMGTPE]iB)")


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones; glibc only, and not against its variables.

    By default glibc hands large blocks back at once, so that the system maps and clears the activations of every step
    anew: a fifth of the time of a training step of MobileNetV2 on a CPU, and a third of a forward pass.
    """
    if not sys.platform.startswith("linux") or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is None:
        return
    # First, because with the other option alone glibc would never raise this one from its 128 KiB.
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ and not any(mallopt(_MMAP_THRESHOLD, size) for size in _MAPPED_FROM):
        return
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, numpy, PyTorch (on any device) or the system had too little memory."""
    if isinstance(error, ThawlineError):
        return False
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, _KINDS) and bool(_WORDS.search(str(error))))


def raise_if_out_of_memory(error: BaseException) -> None:
    """Raise the error again if memory ran out, whatever an `except` clause took it for."""
    if is_out_of_memory(error):
        raise error


@contextmanager
def within_memory(advice: str) -> Iterator[None]:
    """Raise `TooLittleMemoryError`, one line that ends with `advice`, where memory runs out inside."""
    try:
        yield
    except (MemoryError, OSError, *_KINDS) as error:
        if not is_out_of_memory(error):
            raise
        raise TooLittleMemoryError(f"out of memory{_asked(error)}; {advice}.") from error


def _asked(error: BaseException) -> str:
    found = _ASKED.search(str(error))
    if found is None:
        return ""
    return f" ({found[2] or f'{int(found[1]) / 2**30:,.1f} GiB'} at once)"
