"""Every error that thawline raises on purpose.

    ThawlineError
    ├── InputError (ValueError)        the input was wrong: exit code 2
    │   ├── OptionError                an option or argument
    │   ├── DataError                  the images, their folders or their splits
    │   ├── ModelError                 the model's name, its weights, its blocks
    │   ├── PlanError                  a fine-tuning plan
    │   ├── RunFolderError             the run folder: taken, missing, read-only, not ours
    │   └── MissingExtraError          an optional dependency is not installed
    └── RunError (RuntimeError)        the run failed: exit code 1
        ├── NonFiniteLossError         one training diverged; the others go on
        ├── TooLittleMemoryError       one training does not fit, whatever the batch; the others go on
        └── FrozenBlockMovedError      a frozen block changed: a bug in thawline, not in the input

A message is one line that says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thawline.visible import visible


def debugging() -> bool:
    """Whether `--debug` or THAWLINE_DEBUG=1 asks for tracebacks, of failures that a run survives, too."""
    return os.environ.get("THAWLINE_DEBUG", "") not in ("", "0")


class ThawlineError(Exception):
    """Root of the tree; `exit_code` is what the command line returns.

    Whatever names of files and words of libraries the message quotes, it is one line without control characters.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(visible(message))


class InputError(ThawlineError, ValueError):
    """The input was wrong. Nothing was computed with it and nothing was lost."""

    exit_code = 2


class OptionError(InputError):
    """An option or an argument has a value that cannot be used."""


class DataError(InputError):
    """The images, their folders, their labels or their splits cannot be used."""


class ModelError(InputError):
    """The model cannot be built, its weights cannot be read, or they do not fit it."""


class PlanError(InputError):
    """A fine-tuning plan contradicts itself or does not fit the model."""


class RunFolderError(InputError):
    """The run folder is taken, missing, read-only, or was not written by thawline."""


class MissingExtraError(InputError):
    """An optional dependency is needed and not installed."""


class RunError(ThawlineError, RuntimeError):
    """The run failed although its input was right."""


class NonFiniteLossError(RunError):
    """The loss of one training became NaN or infinite."""


class TooLittleMemoryError(RunError):
    """Even two images at a time do not fit into memory."""


class FrozenBlockMovedError(RunError):
    """A frozen block's parameters or buffers changed during training."""


_REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT): "free some space",
    (errno.EACCES, errno.EPERM): "change its permissions",
    (errno.EROFS,): "make its disk writable",
    (errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT): "check the disk and its connection",
    (errno.EMFILE, errno.ENFILE): "raise the limit on open files (`ulimit -n`)",
    (errno.EFBIG,): "raise the limit on the size of files (`ulimit -f`)",
    (errno.ENAMETOOLONG,): "choose a shorter path",
    (errno.ENOENT, errno.ENOTDIR): "restore what was moved or removed",
    (errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY): "move what is in its place",
    (errno.ENOMEM,): "free some memory",
    (errno.EBUSY, errno.EAGAIN): "close the program that uses it",
}


def remedy(error: OSError) -> str:
    """What helps against an error of the operating system, as a clause without an end: `free some space`."""
    return next((advice for numbers, advice in _REMEDIES.items() if error.errno in numbers), "remove the cause")


@contextmanager
def written_to(path: Path, *, then: str = "") -> Iterator[None]:
    """Turn an error of the operating system into a `RunError`; `then` = the command that tries again."""
    try:
        yield
    except OSError as error:
        again = f", then `{then}`" if then else ""
        raise RunError(f"{path} cannot be written ({error.strerror or error}); {remedy(error)}{again}.") from error


def cause(error: OSError) -> str:
    """What the operating system said, and about which file: `No space left on device: run/results.json`."""
    said = error.strerror or str(error) or type(error).__name__
    return f"{said}: {error.filename}" if isinstance(error.filename, str) else said
