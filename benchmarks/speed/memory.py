"""Peak memory of `fit` against the least that its training needs. No torch here: see `commands`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.commands import Finished, run_python
from benchmarks.speed.measuring import at_most, figures, interleaved, ratio, reported
from benchmarks.speed.settings import BATCH, RATE, Settings

MEBIBYTE = 2**20
EPOCHS = 2


def measure(settings: Settings, *, spec: str, over_floor: float) -> dict[str, Any]:
    """Largest resident sets of both processes, in MiB."""
    kept: dict[str, list[Finished]] = {"fit": [], "floor": []}
    commands = {"fit": lambda: _fit(settings, spec), "floor": lambda: _floor(settings, spec)}
    sides = {name: _peak(commands[name], kept[name]) for name in commands}
    peaks = interleaved(sides, settings.times(5))
    anonymous = {name: [sample.peak_anonymous_bytes / MEBIBYTE for sample in kept[name]] for name in kept}
    budget = _cache_budget(_run_folder(settings, spec))
    work = f"peak memory of fit --strategy {spec}, flowers5, {settings.image_size} px"
    claims = [at_most(work, "the floor", over_floor, ratio(peaks["fit"], peaks["floor"]))]
    if spec != "full" and budget:
        # The whole budget, however little of it was used: flattering, so never the figure that is claimed.
        left = [max(0.0, peak - budget) for peak in peaks["fit"]]
        name = f"{work}, less the cache's whole budget ({budget:.0f} MiB)"
        claims.append(reported(name, "the floor", ratio(left, peaks["floor"])))
    if all(map(all, anonymous.values())):
        without = ratio(anonymous["fit"], anonymous["floor"])
        claims.append(reported(f"{work}, without mapped files", "the floor", without))
    sampled = {f"{name} without mapped files": values for name, values in anonymous.items()}
    return {
        "sides": figures({**peaks, **sampled}, "MiB"),
        "claims": claims,
        "facts": {"cache_memory_budget_mib": budget, "epochs": EPOCHS},
    }


def _peak(command: Callable[[], Finished], kept: list[Finished]) -> Callable[[], float]:
    def once() -> float:
        kept.append(command())
        return kept[-1].peak_bytes / MEBIBYTE

    return once


def _fit(settings: Settings, spec: str) -> Finished:
    """The command on all 4,317 images, which it decodes first."""
    run = _run_folder(settings, spec)
    cache = run.with_name(f"{run.name}-cache")
    for folder in (run, cache):
        shutil.rmtree(folder, ignore_errors=True)
    command = [
        "-m",
        "thawline",
        "fit",
        str(settings.data("flowers5")),
        "--strategy",
        spec,
        "--no-explain",
        *_options(settings),
    ]
    finished = run_python([*command, "--out", str(run)], settings, log=run.with_name(f"{run.name}.log"), cache=cache)
    shutil.rmtree(cache)
    return finished


def _options(settings: Settings) -> Sequence[str]:
    options = {
        "model": settings.network.source,
        "learning-rate": RATE,
        "epochs": settings.small(EPOCHS, 1),
        "image-size": settings.image_size,
        "augment": "none",
        "batch-size": BATCH,
        "device": settings.device,
        "threads": settings.threads,
    }
    if settings.smoke:
        options["limit"] = 200
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def _floor(settings: Settings, spec: str) -> Finished:
    options = ["--model", settings.network.source, "--spec", spec, "--image-size", str(settings.image_size)]
    return run_python(["-m", "benchmarks.speed.floor", *options], settings, log=settings.runs / "floor.log")


def _run_folder(settings: Settings, spec: str) -> Path:
    return settings.runs / f"memory-{spec.partition(':')[0]}"


def _cache_budget(run: Path) -> float:
    """What the run says its cache may hold in memory, in MiB; 0 before there is a cache."""
    request = json.loads((run / "run.json").read_text(encoding="utf-8"))["request"]
    return float(request.get("cache", {}).get("memory_bytes", 0)) / MEBIBYTE
