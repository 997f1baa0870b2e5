"""The undamaged material: images, small finished runs, copies of them killed in the middle, and their answers."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.faults.hooks import KILLED, Counter, die_at_name, die_at_operation, full_after
from benchmarks.faults.sandbox import Ran, require_temporary, run, warm

CLASSES = ("blue", "red")
SPLITS = {"train": 6, "val": 4, "test": 4}
"""Images a class."""
SIDE = 40
OPTIONS = (
    *("--model", "test_efficientnet", "--weights", "random", "--image-size", "32", "--views", "2"),
    *("--epochs", "2", "--batch-size", "8", "--threads", "1", "--device", "cpu"),
)
STRATEGIES = {
    "auto": ("fit", "--no-explain", "--strategy", "auto", "--budget", "4candidates"),
    "biotune": ("fit", "--no-explain", "--strategy", "biotune:population=3,elites=1,generations=2,top=1"),
    "probe": ("fit", "--no-explain", "--strategy", "linear_probe"),
    "explained": ("fit", "--explain", "--strategy", "linear_probe"),
    "compare": ("compare", "--strategies", "linear_probe,full"),
}
"""Verb and options by kind of run."""
VOLATILE = frozenset({"seconds", "peak_memory_bytes", "environment", "command", "cache_hits", "at"})
"""Keys of results that differ between equal runs."""

Answer = dict[str, object]


@dataclass(frozen=True)
class Reading:
    """A command over a folder `run`, and where its answer is."""

    argv: tuple[str, ...]
    answer: Callable[[Path, Ran], Answer]
    """The answer, given the trial's folder and what the command did."""


class Base:
    """Everything that a trial copies from; made when first asked for, below one temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = require_temporary(root)
        self.images = self.root / "images"
        if not self.images.exists():
            _write_images(self.images)

    def state(self, kind: str, killed: str | None = None) -> Path:
        """A folder with `run` and `cache`: a finished run, or one killed before the file `killed` was published."""
        folder = self.root / "states" / f"{kind}-{killed or 'finished'}"
        if not folder.exists():
            if killed:
                self.state(kind)  # and with it whatever a child would have to import
            self._make(folder, kind, killed)
        return folder

    def _make(self, folder: Path, kind: str, killed: str | None) -> None:
        folder.mkdir(parents=True)
        hook = die_at_name(self.file_of(kind, killed)) if killed else None
        ran = run(self.begin(kind), folder, hook=hook) if hook else warm(self.begin(kind), folder)
        if ran.code != (KILLED if killed else 0):
            raise RuntimeError(f"{ran.argv} ended with {ran.code}: {ran.said[-2000:]}")

    def file_of(self, kind: str, killed: str) -> str:
        """`results` is another file for each verb."""
        results = "comparison.json" if STRATEGIES[kind][0] == "compare" else "results.json"
        return f"/{results if killed == 'results' else killed}"

    def begin(self, kind: str) -> list[str]:
        """The command that makes a run of a kind in the folder `run`."""
        verb, *others = STRATEGIES[kind]
        return [verb, str(self.images), "--out", "run", *OPTIONS, *others, "--json"]

    def copy(self, scratch: Path, kind: str, killed: str | None = None) -> None:
        """Put a state into a trial's folder."""
        shutil.copytree(self.state(kind, killed), scratch, dirs_exist_ok=True)

    @functools.cache  # noqa: B019
    def expected(self, kind: str, reading: str) -> Answer:
        """What a reading answers where nothing is damaged."""
        if reading in ("fit", "resume"):
            return answer_of_run(self.state(kind))
        scratch = self.root / "expected" / f"{kind}-{reading}"
        scratch.mkdir(parents=True)
        self.copy(scratch, kind)
        ran = run(self.reading(reading, kind).argv, scratch)
        if ran.code:
            raise RuntimeError(f"{ran.argv} ended with {ran.code}: {ran.said[-2000:]}")
        return self.reading(reading, kind).answer(scratch, ran)

    def reading(self, name: str, kind: str = "auto") -> Reading:
        """A command that reads what is in a trial's folder."""
        image, test = str(self.images / "val" / "red" / "0.png"), str(self.images / "test")
        return {
            "fit": Reading(tuple(self.begin(kind)), lambda folder, _: answer_of_run(folder)),
            "resume": Reading(("resume", "run", "--json"), lambda folder, _: answer_of_run(folder)),
            "reopen": Reading(("resume", "run", "--json"), _printed),
            "report": Reading(("report", "run"), _page),
            "predict": Reading(("predict", "run", str(self.images / "test"), "--json"), _printed),
            "predict-model": Reading(("predict", "run/model", str(self.images / "test"), "--json"), _printed),
            "evaluate": Reading(("evaluate", "run", str(self.images), "--json"), _printed),
            "explain": Reading(("explain", "run", image, "--json"), _printed),
            "check": Reading(("check", str(self.images), "--json"), _printed),
            "check-test": Reading(("check", test, "--json"), _printed),
        }[name]

    @functools.cache  # noqa: B019
    def size(self, kind: str) -> tuple[int, int, float]:
        """File operations, written bytes and seconds of an undisturbed run."""
        operations, written = Counter(), Counter()
        folder = self.root / "measured" / kind
        folder.mkdir(parents=True)

        def count() -> None:
            die_at_operation(None, operations)()
            full_after(None, written)()

        ran = run(self.begin(kind), folder, hook=count)
        if ran.code:
            raise RuntimeError(f"{ran.argv} ended with {ran.code}: {ran.said[-2000:]}")
        return operations.value, written.value, ran.seconds


def answer_of_run(folder: Path) -> Answer:
    """All of a finished run that must not depend on an accident: results, plan, predictions and weights."""
    found = folder / "run"
    path = next(path for name in ("results.json", "comparison.json") if (path := found / name).exists())
    files = ("plan.json", "predictions.csv", "splits.csv", "model/model.safetensors", "model/config.json")
    answer: Answer = {"results": steady(json.loads(path.read_text(encoding="utf-8")))}
    return answer | {name: _digest(found / name) for name in files if (found / name).exists()}


def steady(value: object) -> object:
    """JSON without what differs between equal runs."""
    if isinstance(value, dict):
        return {key: steady(inner) for key, inner in value.items() if key not in VOLATILE}
    return [steady(inner) for inner in value] if isinstance(value, list) else value


def _printed(_: Path, ran: Ran) -> Answer:
    return {"printed": steady(json.loads(ran.out))}


def _page(folder: Path, _: Ran) -> Answer:
    return {"report.html": _digest(folder / "run" / "report.html")}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_images(root: Path) -> None:
    """Two kinds of colored noise."""
    generator = np.random.default_rng(0)
    for split, count in SPLITS.items():
        for position, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 200, (SIDE, SIDE, 3), dtype=np.uint8)
                pixels[..., 2 - 2 * position] += 25
                Image.fromarray(pixels).save(folder / f"{number}.png")
