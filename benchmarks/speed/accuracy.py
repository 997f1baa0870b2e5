"""Test accuracy over six sets, as it is and as it was before, in fp32: the whole command."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import half_width
from benchmarks.speed.commands import flags, run_python
from benchmarks.speed.measuring import figures, interleaved
from benchmarks.speed.settings import ALLOCATOR_ALONE, Settings

SETS = ("dtd10", "isic5", "eurosat", "cifar10", "gtsrb", "mnist")
STRATEGIES = ("full:norm=moving", "full:norm=kept", "last_blocks:k=2")
"""Full training with and without folded norms, and a frozen prefix."""
NOW, BEFORE = "today", "before"


def measure(settings: Settings) -> dict[str, Any]:
    """For each strategy, the mean over seeds of every set's difference, and its interval over sets."""
    found: dict[str, list[float]] = {}
    for strategy in STRATEGIES:
        for data in SETS[: settings.small(len(SETS), 2)]:
            pair = {side: _side(settings, strategy, data, side) for side in (NOW, BEFORE)}
            values = interleaved(pair, settings.times(3))
            found |= {f"{strategy} on {data}, {side}": each for side, each in values.items()}
    claims = [_claim(strategy, found) for strategy in STRATEGIES]
    return {"sides": figures(found, ""), "claims": claims, "facts": {"sets": SETS, "interval": "95 %, over sets"}}


def _claim(strategy: str, found: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Equal within the interval: that of the mean difference over sets contains zero."""
    sets = [data for data in SETS if f"{strategy} on {data}, {NOW}" in found]
    means = {
        side: [statistics.fmean(found[f"{strategy} on {data}, {side}"]) for data in sets] for side in (NOW, BEFORE)
    }
    differences = [now - before for now, before in zip(means[NOW], means[BEFORE], strict=True)]
    middle = statistics.fmean(differences)
    half = half_width(differences)
    assert half is not None, "there are at least two sets"
    return {
        "work": f"{strategy}, test accuracy, mean over sets",
        "against": "itself, not fused, in fp32",
        "rule": "within its interval of",
        "wanted": 0.0,
        "unit": " more",
        "median": middle,
        "lowest": middle - half,
        "highest": middle + half,
        "n": len(differences),
        "met": abs(middle) <= half,
    }


def _side(settings: Settings, strategy: str, data: str, side: str) -> Callable[[], float]:
    seeds: list[int] = []

    def run_once() -> float:
        run = settings.runs / f"accuracy-{side}"
        shutil.rmtree(run, ignore_errors=True)
        module = "thawline" if side == NOW else "benchmarks.speed.before"
        precision = "auto" if side == NOW else "fp32"
        options = [*_options(settings, strategy, data, len(seeds)), "--precision", precision]
        command = ["-m", module, "fit", *options, "--out", str(run)]
        run_python(command, settings, log=run.with_suffix(".log"), variables={} if side == NOW else ALLOCATOR_ALONE)
        seeds.append(len(seeds))
        return _accuracy(run)

    return run_once


def _accuracy(run: Path) -> float:
    return float(json.loads((run / "results.json").read_text(encoding="utf-8"))["test"]["accuracy"]["mean"])


def _options(settings: Settings, strategy: str, data: str, seed: int) -> list[str]:
    options = {
        "model": settings.named("mobilenetv2_050").source,
        "strategy": strategy,
        "learning-rate": 1e-3,
        "epochs": settings.small(8, 1),
        "patience": 0,
        "image-size": settings.small(96, 32),
        "augment": "none",
        "limit": settings.small(1_000, 150),
        "device": settings.device,
        "threads": settings.threads,
        "seed": seed,
    }
    return [str(settings.data(data)), "--no-explain", *flags(options)]
