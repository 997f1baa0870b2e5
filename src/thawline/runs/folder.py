"""The folder that one run owns: who may write to it, where its files are, what it was asked to do."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from thawline.config import Request
from thawline.config_file import resolved
from thawline.errors import OptionError, RunError, RunFolderError, cause, remedy
from thawline.records import FORMAT_VERSION, environment, read_json
from thawline.results import Comparison, Environment, FitResults, RunRecord
from thawline.runs.files import (
    CHECK,
    CHECKPOINTS,
    CONFIG,
    EVALUATIONS,
    EXPLANATION_FOLDER,
    LEDGER,
    MODELS_FOLDER,
    PLAN,
    REQUEST,
    RESULTS,
    SPLITS,
    read,
    read_results,
    write,
)
from thawline.runs.ledger import Ledger, changes, requested
from thawline.runs.sealed import LOCK, publish, updating
from thawline.sums import SUMS_FILE

RUNS = "thawline-runs"
"""Where runs go whose folder nobody named."""
_UNFINISHED = re.compile(r"\..+\.\d+")
"""What `write_bytes` calls a file until it is complete."""


class RunFolder:
    """A run's folder, held under a lock while a command works in it. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Address a folder for reading; use `create` or `open` to work in it."""
        self.path = path
        self._lock = FileLock(path / ".lock")

    @classmethod
    def create(cls, path: Path, request: Request, environment: Environment) -> RunFolder:
        """Make a new run folder; `RunFolderError` if one is there already, or if nothing can be written there."""
        cls.require_free(path, request)
        try:
            path.mkdir(parents=True, exist_ok=True)
            folder = cls(path)
            folder.__enter__()  # before anything is written: two starts at once must not overwrite each other
            _write(path, request, environment)
        except OSError as error:
            raise RunFolderError(
                f"{path} cannot be written to ({error.strerror}); {remedy(error)}, or choose another `out`."
            ) from error
        return folder

    @classmethod
    def require_free(cls, path: Path, request: Request) -> None:
        """Raise `RunFolderError` if a run of `request` cannot begin in `path`; writes nothing."""
        if (path / REQUEST).exists():
            what = "a finished run;" if cls(path).results() else f"a run; continue it with `thawline resume {path}`, or"
            raise RunFolderError(f"{path} already holds {what} choose another `out`.")
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path} is a file; `out` must name a folder.")
        # A run that was killed as it began may have left half of its request.
        if path.is_dir() and any(not found.name.startswith((".lock", f".{REQUEST}.")) for found in path.iterdir()):
            raise RunFolderError(f"{path} is not empty, and not a run folder; choose another `out`.")
        data = Path(request.data)
        if data.is_dir() and path.resolve().is_relative_to(data.resolve()):
            raise RunFolderError(
                f"{path} is inside the images of {request.data}, so a later run would train on the pictures in it; "
                "choose another `out`."
            )

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run folder, to resume or to read."""
        if not (path / REQUEST).is_file():
            raise RunFolderError(f"{path} is not a run folder ({REQUEST} is missing).")
        if not os.access(path, os.W_OK):
            raise RunFolderError(f"{path} is read-only; nothing can be added to the run in it.")
        return cls(path)

    def request(self) -> Request:
        """What the run was asked to do."""
        try:
            return Request.from_dict(self._record().request)
        except OptionError as error:
            raise RunFolderError(f"{self.path / REQUEST} is damaged ({error}); start a new run.") from error

    def discard(self) -> None:
        """Take back a folder in which nothing was trained, so that the mended command can use the same `out`."""
        if not self.path.is_dir():
            return
        ledgers = (self.path / LEDGER, *(self.path / MODELS_FOLDER).glob(f"*/{LEDGER}"))
        if all(not ledger.exists() or Ledger(ledger).is_empty for ledger in ledgers):
            shutil.rmtree(self.path / MODELS_FOLDER, ignore_errors=True)
            for name in (REQUEST, CONFIG, LEDGER, CHECK, SPLITS, SUMS_FILE, LOCK, ".lock"):
                (self.path / name).unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()

    def results(self) -> FitResults | Comparison | None:
        """What the run found, if it is finished and was asked for nothing more since."""
        request = self.request()
        if not os.path.lexists(self.path / RESULTS[request.verb]):
            return None
        found = read_results(self.path)
        return found if Request.from_dict(found.request).strategies == request.strategies else None

    def other_environment(self) -> list[str]:
        """Packages, Python, system and processor that are not those of the beginning: `torch 2.14.1 -> 2.15.0`."""
        began = self._record().environment
        now = environment(device=began.device, threads=began.threads)
        before = {**began.packages, "Python": began.python, "system": began.platform, "processor": began.processor}
        after = {**now.packages, "Python": now.python, "system": now.platform, "processor": now.processor}
        changed = [name for name, new in after.items() if before.get(name, new) != new]
        return [f"{name} {before[name]} -> {after[name]}" for name in changed]

    def store(self, request: Request) -> None:
        """Change what the run was asked to do."""
        _write(self.path, request, self._record().environment)

    def file(self, *parts: str) -> Path:
        """Path of a file of the run; its folder exists. Raises `FileNotFoundError` if the run was moved or removed."""
        path = self.path.joinpath(*parts)
        if not self.path.is_dir():  # a folder with half of a run must not take its place
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def stopped_by(self, error: OSError) -> RunError:
        """What ended the run, and how it goes on."""
        if not (self.path / REQUEST).is_file():
            return RunError(
                f"{self.path} was moved or removed during the run; if it was moved, continue it there with `thawline "
                "resume`, otherwise start again."
            )
        return RunError(f"{self.path}: {cause(error)}; {remedy(error)}, then `thawline resume {self.path}`.")

    def _record(self) -> RunRecord:
        """What run.json holds; if it was edited, the error names the options."""
        path = self.path / REQUEST
        try:
            return read(path, RunRecord)
        except RunFolderError as refused:
            if edits := self._edits():
                raise RunFolderError(f"{path} was edited: {edits}; undo that, or start a new run.") from refused
            raise

    def _edits(self) -> str:
        """The options of run.json that are not what the ledger knows, in words."""
        with suppress(RunFolderError):
            stored = read_json(self.path / REQUEST)
            now, known = stored.get("request") if isinstance(stored, dict) else None, requested(self.path / LEDGER)
            if known and isinstance(now, dict):
                return changes(known, now)
        return ""

    def __enter__(self) -> RunFolder:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(f"{self.path} is in use by another thawline process.") from None
        self._remove_leftovers()
        return self

    def _remove_leftovers(self) -> None:
        """Remove the unfinished files of killed processes; whoever writes here now holds one of the two locks."""
        with suppress(OSError), updating(self.path):
            for folder in ("", CHECKPOINTS, EVALUATIONS, EXPLANATION_FOLDER):
                for path in (self.path / folder).glob(".*"):
                    if _UNFINISHED.fullmatch(path.name):
                        path.unlink()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release(force=True)


def free_folder() -> Path:
    """The first free folder of thawline-runs/1, thawline-runs/2, ... in the working directory."""
    return next(path for number in itertools.count(1) if not (path := Path(RUNS, str(number))).exists())


def _write(folder: Path, request: Request, environment: Environment) -> None:
    """run.json, and the same request as a file for --config."""
    record = RunRecord(format_version=FORMAT_VERSION, request=request.to_dict(), environment=environment)
    write(folder / REQUEST, record)
    publish(folder / CONFIG, resolved(request, folder / PLAN).encode("utf-8", "surrogateescape"))
