"""One command of thawline in a forked child, bounded in time and memory, that may write below one folder only."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from thawline.cli.app import main

MEMORY_BYTES = 4 << 30
FILE_BYTES = 1 << 28
SECONDS = 60.0
WROTE_OUTSIDE = 99
"""Exit code of a child that was about to write where it must not."""

_DEVICES = ("/dev/null", "/dev/full", "/dev/tty")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.truncate": 1,
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
    "shutil.rmtree": 1,
}
"""Audit events of the file system, with the number of paths that each names."""

Hook = Callable[[], None]
"""Called in the child before the command starts: where a trial puts its fault."""


@dataclass(frozen=True)
class Ran:
    """What one command did."""

    argv: tuple[str, ...]
    code: int | None
    """Exit code; negative = ended by that signal; None = it did not end in time."""
    out: bytes
    """Standard output."""
    said: str
    """Standard error."""
    seconds: float


@dataclass(frozen=True)
class Streams:
    """What standard output is."""

    kind: str = "file"
    """file, closed, full (/dev/full) or head (a pipe whose reader leaves after the first line)."""
    encoding: str = "utf-8"


@dataclass(frozen=True)
class Ending:
    """A signal sent after some seconds."""

    after: float
    signal: signal.Signals = signal.SIGKILL
    again: float | None = None
    """Seconds after it, in which the same signal is sent once more."""


def run(
    argv: Sequence[str],
    folder: Path,
    *,
    hook: Hook | None = None,
    streams: Streams | None = None,
    ending: Ending | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> Ran:
    """Run `thawline ARGV` in `folder`, an existing folder below the system's temporary one, to its end or a bound."""
    work = functools.partial(_outcome, argv)
    return apart(work, folder, argv, hook, streams, ending, environment, seconds)


def apart(
    work: Callable[[], int],
    folder: Path,
    argv: Sequence[str] = (),
    hook: Hook | None = None,
    streams: Streams | None = None,
    ending: Ending | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> Ran:
    """Do any work in such a child; it returns the exit code."""
    folder = require_temporary(folder)
    streams = streams or Streams()
    out, said = folder / "stdout", folder / "stderr"
    reader, started = _reader(streams, out), time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: fork in a process with threads
        child = os.fork()
    if child == 0:
        _be_the_child(work, folder, hook, streams, reader, environment or {})
    first = _read_head(reader, started + seconds)
    code = _wait(child, started, ending, seconds)
    taken = first if streams.kind == "head" else _content(out)
    return Ran(tuple(argv), code, taken, _content(said).decode("utf-8", "replace"), time.monotonic() - started)


def warm(argv: Sequence[str], folder: Path) -> Ran:
    """Run a command and import here what it had to import there, so that children forked later need not."""
    listing = folder / "modules"

    def work() -> int:
        code = _outcome(argv)
        listing.write_text("\n".join(sys.modules))
        return code

    ran = apart(work, folder, argv)
    for name in listing.read_text().splitlines() if listing.exists() else ():
        if name not in sys.modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    return ran


def require_temporary(folder: Path) -> Path:
    """The folder without links; `ValueError` unless it lies below the system's temporary folder."""
    found, allowed = folder.resolve(), Path(tempfile.gettempdir()).resolve()
    if allowed not in found.parents:
        raise ValueError(f"{found} is not below {allowed}")
    return found


def _reader(streams: Streams, out: Path) -> tuple[int, int] | None:
    """Both ends of the pipe, if there is one."""
    out.unlink(missing_ok=True)
    return os.pipe() if streams.kind == "head" else None


def _read_head(pipe: tuple[int, int] | None, until: float) -> bytes:
    """Read one line and leave, as `head -1` does."""
    if pipe is None:
        return b""
    os.close(pipe[1])
    line = b""
    while not line.endswith(b"\n") and select.select(pipe[:1], (), (), max(0, until - time.monotonic()))[0]:
        byte = os.read(pipe[0], 1)
        if not byte:
            break
        line += byte
    os.close(pipe[0])
    return line


def _wait(child: int, started: float, ending: Ending | None, seconds: float) -> int | None:
    """Exit code as in `Ran`; whatever is left of the child's process group is killed."""
    moments = [] if ending is None else [ending.after]
    if ending is not None and ending.again is not None:
        moments.append(ending.after + ending.again)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        now = time.monotonic() - started
        if done:
            return os.waitstatus_to_exitcode(status)
        if now > seconds:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        if ending is not None and moments and now >= moments[0]:
            os.kill(child, ending.signal)
            del moments[0]
        time.sleep(0.002)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _be_the_child(
    work: Callable[[], int],
    folder: Path,
    hook: Hook | None,
    streams: Streams,
    pipe: tuple[int, int] | None,
    environment: Mapping[str, str],
) -> NoReturn:
    code = 1
    try:
        os.setsid()
        _bound()
        _redirect(folder, streams, pipe)
        _settle(folder, environment)
        _guard(folder)
        if hook is not None:
            hook()
        code = work()
    finally:
        os._exit(code)


def _bound() -> None:
    # The address space says nothing: importing PyTorch alone maps almost 4 GiB of it.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _redirect(folder: Path, streams: Streams, pipe: tuple[int, int] | None) -> None:
    """File descriptors 1 and 2, and the text streams over them, as a fresh interpreter would have them."""
    error = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(error, 2)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
    if streams.kind == "closed":
        os.close(1)
        sys.stdout = None  # what Python itself does when it starts with descriptor 1 closed
        return
    os.dup2(_standard_output(folder, streams, pipe), 1)
    raw = io.BufferedWriter(io.FileIO(1, "w", closefd=False))
    sys.stdout = io.TextIOWrapper(raw, streams.encoding, "strict")


def _standard_output(folder: Path, streams: Streams, pipe: tuple[int, int] | None) -> int:
    if pipe is not None:
        os.close(pipe[0])
        return pipe[1]
    target = "/dev/full" if streams.kind == "full" else folder / "stdout"
    return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


def _settle(folder: Path, environment: Mapping[str, str]) -> None:
    import torch

    os.chdir(folder)
    os.environ |= {"THAWLINE_CACHE": str(folder / "cache"), "HOME": str(folder), "TMPDIR": str(folder), **environment}
    tempfile.tempdir = None
    sys.dont_write_bytecode = True
    torch.set_num_threads(1)  # a forked child has none of its parent's worker threads


def _guard(folder: Path) -> None:
    """End the child before it writes, removes or renames anything outside `folder`."""
    inside = f"{folder}{os.sep}"

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        for path in written(event, arguments):
            real = os.path.realpath(path)
            if real != str(folder) and not real.startswith(inside) and real not in _DEVICES:
                os.write(2, f"{event} outside the trial's folder: {real}\n".encode("utf-8", "replace"))
                os._exit(WROTE_OUTSIDE)

    sys.addaudithook(refuse)


def written(event: str, arguments: tuple[object, ...]) -> list[str]:
    """The paths that an audit event is about to write, remove or rename."""
    if event == "open":
        flags = arguments[2]
        changes = isinstance(flags, int) and flags & _WRITING
        return _paths(arguments[:1]) if changes else []
    return _paths(arguments[: _CHANGES.get(event, 0)])


def _paths(values: Sequence[object]) -> list[str]:
    return [os.fsdecode(value) for value in values if isinstance(value, str | bytes | os.PathLike)]


def _outcome(argv: Sequence[str]) -> int:
    """Run the command line and end as the interpreter would."""
    sys.argv = ["thawline", *argv]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  # what the interpreter does with whatever nobody caught
        traceback.print_exc()
        code = 1
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError) as error:
        sys.stderr.write(f"Exception ignored while flushing sys.stdout: {error!r}\n")
        code = 120
    return code
