"""`python -m benchmarks.faults`: make trials, print and store the counts by outcome."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults.base import Base
from benchmarks.faults.families import FAMILIES, again, one_of_each_kind, run_family, summary
from benchmarks.faults.outcomes import Result
from thawline.records import FORMAT_VERSION, environment, write_json


def main() -> int:
    """Make the trials; the exit code is 1 if any came out wrong."""
    options = _options()
    torch.set_num_threads(1)  # children of a process with worker threads would wait for them for ever
    root = Path(tempfile.mkdtemp(prefix="thawline-faults-"))
    try:
        wrong = _run(options, Base(root))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return int(wrong)


def _run(options: argparse.Namespace, base: Base) -> bool:
    """Whether any trial came out wrong; the file is written after every family."""
    numbers, seed, chosen = range(options.trials), options.seed, options.family or list(FAMILIES)
    if options.only:
        family, seed_text, number = options.only.rsplit("-", 2)
        numbers, seed, chosen = range(int(number), int(number) + 1), int(seed_text), [family]
    found: dict[str, dict[str, Any]] = {}
    for family in chosen:
        found[family] = _made(base, family, numbers, seed, options.seconds)
        if options.out is not None:
            write_json(options.out, _record(found))
    return any(family["wrong"] for family in found.values())


def _made(base: Base, family: str, numbers: Sequence[int], seed: int, seconds: float) -> dict[str, Any]:
    started = time.monotonic()
    results: list[Result] = []
    for result in one_of_each_kind(_kept(results, run_family(base, family, numbers, seed, seconds))):
        if not result.right or len(numbers) == 1:
            _print(result)
    found = summary(results) | {"seed": seed, "seconds": round(time.monotonic() - started)}
    outcomes = found["outcomes"]
    print(f"{family}: {found['trials']} trials, {found['wrong']} wrong; {outcomes}", flush=True)
    return found


def _kept(results: list[Result], new: Iterator[Result]) -> Iterator[Result]:
    for result in new:
        results.append(result)
        yield result


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
