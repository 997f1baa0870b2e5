"""Family `damage`: one file of a cache, a run or a saved model is damaged, and a command reads it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.base import Base
from benchmarks.faults.mutate import mutations_for
from benchmarks.faults.outcomes import GOOD, MUST_HOLD, Trial, Verdict, judge
from benchmarks.faults.sandbox import run


@dataclass(frozen=True)
class Target:
    """Files in some state, and the commands that read them."""

    files: str
    """Glob below the trial's folder."""
    kind: str
    killed: str | None
    """State of the run, as in `Base.state`."""
    readings: Sequence[str]


LOOKED_INTO = ("report", "predict", "evaluate", "explain", "reopen")
TARGETS: Sequence[Target] = (
    Target("cache/pixels/*/*", "auto", None, ("fit",)),
    Target("cache/pixels/*/*", "auto", "evaluations", ("resume",)),
    Target("cache/facts/*/*", "auto", None, ("check",)),
    Target("run/checkpoints/*", "auto", "evaluations", ("resume",)),
    Target("run/checkpoints/*", "biotune", "evaluations", ("resume",)),
    Target("run/checkpoints/*", "compare", "results", ("resume",)),
    Target("run/evaluations/*", "auto", "results", ("resume",)),
    Target("run/evaluations/*", "compare", "results", ("resume",)),
    Target("run/ledger.journal", "auto", "evaluations", ("resume",)),
    Target("run/ledger.journal", "biotune", "evaluations", ("resume",)),
    Target("run/ledger.journal", "compare", "results", ("resume",)),
    Target("run/run.json", "auto", "evaluations", ("resume",)),
    Target("run/run.json", "compare", "results", ("resume",)),
    Target("run/run.json", "auto", None, LOOKED_INTO),
    Target("run/ledger.journal", "auto", None, LOOKED_INTO),
    Target("run/results.json", "auto", None, LOOKED_INTO),
    Target("run/results.json", "biotune", None, ("report",)),
    Target("run/comparison.json", "compare", None, ("report", "reopen")),
    Target("run/*.json", "auto", None, LOOKED_INTO),
    Target("run/explain.json", "explained", None, ("report", "reopen")),
    Target("run/*.csv", "auto", None, ("report", "evaluate", "explain", "reopen")),
    Target("run/*.csv", "compare", None, ("report",)),
    Target("run/evaluations/*", "auto", None, ("report", "reopen")),
    Target("run/model/*", "auto", None, ("predict", "predict-model", "evaluate", "explain", "reopen")),
    Target("run/model/model.safetensors", "auto", None, ("predict-model", "evaluate", "explain")),
    Target("run/model/*.json", "auto", None, ("predict-model", "evaluate", "explain")),
)


def lost(path: Path) -> None:
    """Remove the file."""
    path.unlink()


def a_folder(path: Path) -> None:
    """A folder in its place."""
    path.unlink()
    path.mkdir()


def a_loop(path: Path) -> None:
    """A symbolic link to itself in its place."""
    path.unlink()
    path.symlink_to(path.name)


def a_device(path: Path) -> None:
    """An endless device in its place."""
    path.unlink()
    path.symlink_to("/dev/zero")


REPLACED: Sequence[Callable[[Path], None]] = (lost, a_folder, a_loop, a_device)


def draw(base: Base, number: int, seed: int) -> Trial:
    """The trial of that number."""
    name = f"damage-{seed}-{number}"
    rng = random.Random(name)
    target = TARGETS[number % len(TARGETS)]
    reading = rng.choice(target.readings)
    found = sorted(base.state(target.kind, target.killed).glob(target.files))
    if reading == "check":  # its cache is not part of a run
        found = [*_checked(base).glob(target.files)]
    path = rng.choice(found).relative_to(_source(base, target, reading))
    if rng.random() < 0.1:
        how = rng.choice(REPLACED)
        return make(base, name, target, path, reading, how)
    mutation = rng.choice(mutations_for(path.name))

    def change(file: Path) -> None:
        file.write_bytes(mutation(file.read_bytes(), rng))

    change.__name__ = mutation.__name__
    return make(base, name, target, path, reading, change)


def make(base: Base, name: str, target: Target, path: Path, reading: str, change: Callable[[Path], None]) -> Trial:
    """A trial of one damage to one file; `path` below the trial's folder."""
    state = f"{target.kind}, {'killed before ' + target.killed if target.killed else 'finished'}"
    what = f"{change.__name__} on {path} ({state}), then {reading}"

    def attempt(scratch: Path) -> Verdict:
        shutil.copytree(_source(base, target, reading), scratch, dirs_exist_ok=True)
        if reading == "fit":
            shutil.rmtree(scratch / "run")
        change(scratch / path)
        command = base.reading(reading, target.kind)
        ran = run(command.argv, scratch)
        return judge(ran, lambda: command.answer(scratch, ran), base.expected(target.kind, reading))

    group = "/".join((*path.parts[:-1][:2], path.suffix or path.name)) if len(path.parts) > 2 else path.name
    return Trial(name, group, what, attempt, MUST_HOLD if path.parts[0] == "cache" else GOOD)


def _source(base: Base, target: Target, reading: str) -> Path:
    return _checked(base) if reading == "check" else base.state(target.kind, target.killed)


def _checked(base: Base) -> Path:
    """A folder whose cache remembers a check of the images."""
    folder = base.root / "states" / "checked"
    if not folder.exists():
        folder.mkdir(parents=True)
        run(base.reading("check").argv, folder)
    return folder
