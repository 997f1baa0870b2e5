"""`python -m benchmarks.faults`: make trials, print and store the counts by outcome."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults.base import Base
from benchmarks.faults.families import FAMILIES, again, run_family, summary
from benchmarks.faults.outcomes import Result
from thawline.records import FORMAT_VERSION, environment, write_json


def main() -> int:
    """Make the trials; the exit code is 1 if any came out wrong."""
    options = _options()
    torch.set_num_threads(1)  # children of a process with worker threads would wait for them for ever
    root = Path(tempfile.mkdtemp(prefix="thawline-faults-"))
    try:
        found = _run(options, Base(root))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if options.out is not None:
        write_json(options.out, found)
    families = found["families"]
    return int(any(family["wrong"] for family in families.values()))


def _run(options: argparse.Namespace, base: Base) -> dict[str, Any]:
    if options.only:
        family, seed, number = options.only.rsplit("-", 2)
        return _record({family: _made(base, family, [int(number)], int(seed), options.seconds)})
    numbers = range(options.trials)
    chosen = options.family or list(FAMILIES)
    return _record({family: _made(base, family, numbers, options.seed, options.seconds) for family in chosen})


def _made(base: Base, family: str, numbers: Sequence[int], seed: int, seconds: float) -> dict[str, Any]:
    started, results = time.monotonic(), []
    for result in run_family(base, family, numbers, seed, seconds):
        results.append(result)
        if not result.right or len(numbers) == 1:
            _print(result)
    found = summary(results) | {"seed": seed, "seconds": round(time.monotonic() - started)}
    outcomes = found["outcomes"]
    print(f"{family}: {found['trials']} trials, {found['wrong']} wrong; {outcomes}", flush=True)
    return found


def _print(result: Result) -> None:
    """One trial: the outcome, what was done, what came of it, and how to see it again."""
    print(f"{result.outcome:9} {result.what}\n          {result.detail}\n          {again(result.id)}", flush=True)


def _record(families: dict[str, dict[str, Any]]) -> dict[str, Any]:
    command = "python -m benchmarks.faults"
    return {
        "format_version": FORMAT_VERSION,
        "command": " ".join((command, *sys.argv[1:])),
        "commit": _commit(),
        "environment": environment(device="cpu", threads=1, command=command).to_dict(),
        "families": families,
    }


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--family", choices=list(FAMILIES), action="append", help="default: all; repeatable")
    parser.add_argument("--trials", type=int, default=100, help="of each family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600, help="after which no further trial of a family begins")
    parser.add_argument("--only", metavar="ID", help="one trial, such as damage-0-17")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
