"""One side of a comparison in a process of its own.

    python -m benchmarks.speed.side MODULE.FUNCTION SETTINGS ARGUMENTS

Some settings hold for a whole process: in one process with thawline, its peers would have the memory allocator as
thawline sets it. The process prepares itself, then measures once for each line that it reads.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from benchmarks.speed.commands import CommandFailedError, environment_of
from benchmarks.speed.settings import ROOT, Settings


class Side:
    """Call it to measure once; the process ends with the context."""

    def __init__(
        self, function: str, settings: Settings, *, variables: Mapping[str, str] | None = None, **arguments: Any
    ) -> None:
        """`function` is MODULE.FUNCTION of this package: `function(settings, **arguments)` gives what measures once.

        `variables` are environment variables of this side alone.
        """
        self._command = [sys.executable, "-m", "benchmarks.speed.side", function, settings.to_json()]
        self._command.append(json.dumps(arguments))
        self._environment = {**environment_of(settings, settings.runs / "cache"), **(variables or {})}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Side:
        """Start the process; it prepares itself while others do."""
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()
        return self

    def __call__(self) -> float:
        """One measurement."""
        assert self._process is not None
        assert self._process.stdin is not None
        print("go", file=self._process.stdin, flush=True)
        return float(self._answer())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the standard input of the process, which ends it."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise CommandFailedError(f"`{' '.join(self._command[2:4])}` ended with {self._process.wait()}; see above")
        return answer


def main() -> None:
    """Prepare, say so, then measure at every line."""
    name, settings, arguments = sys.argv[1:]
    # What libraries print must not be taken for an answer.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        module, _, function = name.rpartition(".")
        prepare = getattr(importlib.import_module(f"benchmarks.speed.{module}"), function)
        measure: Callable[[], float] = prepare(Settings.from_json(settings), **json.loads(arguments))
        print("ready", file=answers, flush=True)
        for _ in sys.stdin:
            print(repr(measure()), file=answers, flush=True)


if __name__ == "__main__":
    main()
