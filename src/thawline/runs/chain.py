"""The lines of a ledger, chained: each carries a SHA-256 over the line before it and itself.

So no line can change, move or be lost without a word, except at the end: what a killed process left there is mended,
and trainings that are missing there are made again. Optuna and its tools ignore the digests.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from thawline.errors import RunFolderError
from thawline.reading import read_regular

LARGEST_LEDGER = 2**30
"""Bytes."""
SEAL = "sha256"
_WAY_OUT = "restore it from a copy, or start a new run with another `out`"
_NOTES = (3, 9)
"""Optuna's codes of system attributes, which optuna-dashboard adds for the notes of its users and we never read."""


class ChainedJournal(JournalFileBackend):
    """Optuna's journal in a file, proved from its first line to its last when it is opened.

    Lines at its beginning may be without digests, as versions before 0.2 wrote them; the first line that is added
    proves them, too.
    """

    def __init__(self, path: Path) -> None:
        """Raises `RunFolderError` for a line that is not what was written."""
        self._last = _last_seal(path, _mended_lines(path)) if os.path.lexists(path) else ""
        super().__init__(str(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Seal and append some lines; on disk when this returns."""
        sealed, last = [], self._last
        for log in logs:
            last = _seal(last, log)
            sealed.append({**log, SEAL: last})
        super().append_logs(sealed)
        self._last = last


def _last_seal(path: Path, lines: Sequence[bytes]) -> str:
    """The digest of the last line."""
    last, chained = "", False
    for number, line in enumerate(lines, start=1):
        log = _parsed(line)
        seal = log.pop(SEAL, None)
        if seal is None and chained and log.get("op_code") in _NOTES:
            continue
        last = _seal(last, log)
        if not log or seal != (last if chained or seal else None):
            raise RunFolderError(
                f"{path} is damaged in line {number}: it was changed, or a line before it was lost; {_WAY_OUT}."
            )
        chained = chained or seal is not None
    return last


def _seal(last: str, log: Mapping[str, object]) -> str:
    return hashlib.sha256((last + json.dumps(log, separators=(",", ":"))).encode()).hexdigest()


def _parsed(line: bytes) -> dict[str, Any]:
    """The object in a line; empty if there is none."""
    try:
        log = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return log if isinstance(log, dict) else {}


def _mended_lines(path: Path) -> list[bytes]:
    """All lines, after the removal of an incomplete last one and of the lock of a dead process.

    The next append would put the incomplete line into the middle of the journal, which Optuna rejects.
    """
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    try:
        content = read_regular(path, LARGEST_LEDGER)
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read ({error.strerror}); {_WAY_OUT}.") from error
    *lines, rest = content.split(b"\n")
    if lines and not _is_json(lines[-1]):
        rest = lines.pop() + rest
    if rest and not lines and not rest.startswith(b"{"):
        raise RunFolderError(f"{path} is not a ledger of thawline; {_WAY_OUT}.")
    if rest:
        os.truncate(path, sum(len(line) + 1 for line in lines))
    return lines


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True
