"""Whole commands as subprocesses, with their seconds and their peak memory. Standard library only.

The process that calls this must be small: Linux counts a parent's memory in the peak of a child that it starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed import instructions
from benchmarks.speed.settings import ROOT, Settings

POLL_SECONDS = 0.05


class CommandFailedError(RuntimeError):
    """A command ended with an error; the message is one line."""


@dataclass(frozen=True)
class Finished:
    """What a command took."""

    seconds: float
    peak_bytes: int
    """Largest resident set, files mapped into memory included."""
    peak_anonymous_bytes: int
    """The same without mapped files, which the system can drop at any time; sampled every 50 ms, 0 if unknown."""


def flags(options: Mapping[str, object]) -> list[str]:
    """The part of a command line that gives these options."""
    pairs = ((f"--{name}", str(value)) for name, value in options.items())
    return [part for pair in pairs for part in pair]


def run_python(
    arguments: Sequence[str],
    settings: Settings,
    *,
    log: Path,
    cache: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> Finished:
    """Run `python ARGUMENTS` from the repository to its end, with further environment `variables`.

    `cache` is where thawline keeps decoded pixels; an empty folder makes the command decode. Raises
    `CommandFailedError` with the last line of its output if it fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**environment_of(settings, cache or settings.runs / "cache"), **(variables or {})},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    status, peak, anonymous = _wait(process.pid)
    process.returncode = os.waitstatus_to_exitcode(status)  # reaped here, so that Popen does not look for it
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"]
        raise CommandFailedError(f"`python {' '.join(arguments[:4])} ...` failed: {lines[-1]} (all of it: {log})")
    return Finished(time.perf_counter() - started, peak, anonymous)


def run_cell(name: str, stored_settings: str, file: Path, settings: Settings) -> int:
    """Measure one cell in a process of its own, which prints what it does; its exit code."""
    command = [sys.executable, "-m", "benchmarks.speed.cell", name, stored_settings, str(file)]
    environment = environment_of(settings, settings.runs / "cache")
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def environment_of(settings: Settings, cache: Path) -> dict[str, str]:
    """Variables of a process that measures: threads, where pixels are kept, nothing from the network."""
    threads = {name: str(settings.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return {**os.environ, **instructions.variables(), **threads, "THAWLINE_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}


def _wait(pid: int) -> tuple[int, int, int]:
    """Exit status, largest resident set and largest anonymous part of it, in bytes."""
    anonymous = 0
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            unit = 1 if sys.platform == "darwin" else 1024
            return status, usage.ru_maxrss * unit, anonymous
        anonymous = max(anonymous, _anonymous_bytes(pid))
        time.sleep(POLL_SECONDS)


def _anonymous_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)
