"""`thawline fit` with the search of `auto` against a full fine-tuning, and against itself. No torch here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.commands import flags, run_python
from benchmarks.speed.measuring import at_least, at_most, figures, interleaved, ratio, reported
from benchmarks.speed.settings import BATCH, Settings

BUDGET = "5x"
EPOCHS = 10
FULL, THREADS, WORKERS, UNCACHED = "full, 2 threads", "auto, 2 threads", "auto, 2 workers", "auto, 2 threads, no cache"
SIDES: Mapping[str, Sequence[str]] = {
    # A single training: without the norm mode, `full` would tune it first.
    FULL: ("--strategy", "full:norm=kept", "--learning-rate", "1e-3", "--threads", "2"),
    THREADS: ("--strategy", "auto", "--budget", BUDGET, "--threads", "2"),
    WORKERS: ("--strategy", "auto", "--budget", BUDGET, "--threads", "1", "--workers", "2"),
    UNCACHED: (
        *("--strategy", "auto", "--budget", BUDGET, "--threads", "2"),
        *("--cache-memory", "0", "--cache-disk", "0"),
    ),
}


def measure(settings: Settings) -> dict[str, Any]:
    """Seconds of the whole commands on dtd10 with two cores, decoding and tests of the answer included."""
    digests: dict[str, set[str]] = {name: set() for name in SIDES}
    sides = {name: _side(settings, name, digests[name]) for name in SIDES}
    seconds = interleaved(sides, settings.times(5))
    work = f"auto at {BUDGET}, mobilenetv2_050 on dtd10, {settings.image_size} px, two cores"
    full = seconds[FULL]
    claims = [
        at_most(f"{work}: threads", "a full run with two threads", 2.5, ratio(seconds[THREADS], full), unit=" runs"),
        at_most(f"{work}: workers", "a full run with two threads", 2.5, ratio(seconds[WORKERS], full), unit=" runs"),
        at_least(f"{work}: threads", "its caches off", 2.5, ratio(seconds[UNCACHED], seconds[THREADS])),
        reported(f"{work}: threads", "workers", ratio(seconds[WORKERS], seconds[THREADS])),
    ]
    same = {name: sorted(found) for name, found in digests.items()}
    return {"sides": figures(seconds, "s"), "claims": claims, "facts": {"epochs": EPOCHS, "digests": same}}


def _side(settings: Settings, name: str, digests: set[str]) -> Callable[[], float]:
    def run_once() -> float:
        run = settings.runs / f"auto-{list(SIDES).index(name)}"
        cache = run.with_name(f"{run.name}-cache")
        for folder in (run, cache):
            shutil.rmtree(folder, ignore_errors=True)
        command = ["-m", "thawline", "fit", *_options(settings), *SIDES[name], "--out", str(run)]
        finished = run_python(command, settings, log=run.with_name(f"{run.name}.log"), cache=cache)
        shutil.rmtree(cache)
        digests.add(_digest(run))
        return finished.seconds

    return run_once


def _digest(run: Path) -> str:
    return str(json.loads((run / "results.json").read_text(encoding="utf-8"))["digest"])


def _options(settings: Settings) -> list[str]:
    options = {
        "model": settings.named("mobilenetv2_050").source,
        "epochs": settings.small(EPOCHS, 2),
        "patience": 0,
        "image-size": settings.image_size,
        "augment": "none",
        "batch-size": BATCH,
        "device": settings.device,
    }
    if settings.smoke:
        options["limit"] = 150
    return [str(settings.data("dtd10")), "--no-explain", *flags(options)]
