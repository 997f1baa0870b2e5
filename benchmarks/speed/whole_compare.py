"""All of `compare` on dtd10 against itself with the caches off. No torch here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.speed.commands import flags, run_python
from benchmarks.speed.measuring import figures, interleaved, ratio, reported
from benchmarks.speed.settings import Settings

CACHES = {"caches on": (), "caches off": ("--cache-memory", "0", "--cache-disk", "0")}


def measure(settings: Settings) -> dict[str, Any]:
    """Seconds of both commands, and whether they came to the same answer."""
    digests: dict[str, list[str]] = {name: [] for name in CACHES}
    sides = {name: _side(settings, options, digests[name]) for name, options in CACHES.items()}
    seconds = interleaved(sides, settings.times(1))
    on, off = digests.values()
    work = "compare on dtd10, 12 epochs, 96 px, 3 seeds, tuned rates"
    return {
        "sides": figures(seconds, "s"),
        "claims": [reported(work, "its caches off", ratio(seconds["caches off"], seconds["caches on"]))],
        "facts": {"same_digest": on == off, "digest": on[0]},
    }


def _side(settings: Settings, cache_options: Sequence[str], digests: list[str]) -> Callable[[], float]:
    name = "compare-without" if cache_options else "compare-with"

    def measure() -> float:
        run = settings.runs / f"{name}-{len(digests)}"
        cache = run.with_name(f"{run.name}-cache")
        for folder in (run, cache):
            shutil.rmtree(folder, ignore_errors=True)
        command = ["-m", "thawline", "compare", *_options(settings), *cache_options, "--out", str(run)]
        finished = run_python(command, settings, log=run.with_name(f"{run.name}.log"), cache=cache)
        shutil.rmtree(cache)
        digests.append(json.loads((run / "comparison.json").read_text(encoding="utf-8"))["digest"])
        return finished.seconds

    return measure


def _options(settings: Settings) -> list[str]:
    options = {
        "model": settings.named("mobilenetv2_050").source,
        "epochs": settings.small(12, 1),
        "image-size": settings.small(96, 32),
        "augment": "none",
        "seeds": settings.small(3, 1),
        "device": settings.device,
        "threads": settings.threads,
    }
    if settings.smoke:
        options |= {"strategies": "linear_probe", "limit": 120}
    return [str(settings.data("dtd10")), *flags(options)]
