"""Full fine-tuning, images per second: ours, the usual loop, Hugging Face's Trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.speed import hf_trainer, ours, plain_loop
from benchmarks.speed.images import Images
from benchmarks.speed.measuring import at_least, figure, figures, interleaved, ratio, reported
from benchmarks.speed.settings import BATCH, Settings
from benchmarks.speed.utilisation import Watched

SAME_PRECISION, DEFAULTS = 1.2, 2.0
"""Wanted over Hugging Face's Trainer."""
STEPS = 20


def measure(settings: Settings, *, name: str, over_plain: float, repeats: int) -> dict[str, Any]:
    """All sides in turn, `STEPS` steps each time, on decodes and labels of real images."""
    images = Images.read(settings.data("dtd10"), limit=settings.small(1_000, 100))
    ours_auto = _auto_precision(settings, name, images.classes)
    sides = {side: Watched(run) for side, run in _sides(settings, name, images, ours_auto).items()}
    values = interleaved(sides, settings.times(repeats))
    claims = _claims(values, f"full fine-tuning, {name}, {settings.image_size} px", ours_auto, over_plain)
    busy = {side: figure(watched.percent, "% GPU") for side, watched in sides.items() if watched.percent}
    return {
        "sides": figures(values, "images/s"),
        "claims": claims,
        "facts": {
            "auto_precision": ours_auto,
            "batch": BATCH,
            "steps": settings.small(STEPS, 2),
            "gpu_utilisation": busy,
        },
    }


def _auto_precision(settings: Settings, name: str, classes: int) -> str:
    model = ours.build(settings.named(name), classes, settings.image_size)
    return ours.configured(settings, model).precision


def _sides(settings: Settings, name: str, images: Images, auto: str) -> dict[str, Callable[[], float]]:
    """Precisions are those that a claim needs: fp32 everywhere, and bf16 where `auto` chooses it."""
    network, steps = settings.named(name), settings.small(STEPS, 2)
    mine = partial(ours.full_fine_tuning, network, images, settings, steps=steps)
    theirs = partial(hf_trainer.full_fine_tuning, network, images, settings)
    sides = {
        "plain loop fp32": plain_loop.full_fine_tuning(network, images, settings, steps=steps),
        "ours fp32": mine(precision="fp32"),
        "Trainer fp32": theirs(steps=steps, batch=BATCH),
        # As many images, in its own smaller batches.
        "Trainer defaults": theirs(steps=steps * BATCH // hf_trainer.DEFAULT_BATCH, batch=None),
    }
    if auto == "bf16":
        sides["ours bf16"] = mine(precision="bf16")
        sides["Trainer bf16"] = theirs(steps=steps, precision="bf16", batch=BATCH)
    return sides


def _claims(values: Mapping[str, list[float]], work: str, auto: str, over_plain: float) -> list[dict[str, Any]]:
    best = values[f"ours {auto}"]
    fp32, trainer = values["ours fp32"], values["Trainer fp32"]
    claims = [
        at_least(f"{work}, {auto} (auto)", "plain loop, fp32", over_plain, ratio(best, values["plain loop fp32"])),
        at_least(f"{work}, fp32", "Trainer, fp32, batch 32", SAME_PRECISION, ratio(fp32, trainer)),
        at_least(f"{work}, {auto} (auto)", "Trainer, its defaults", DEFAULTS, ratio(best, values["Trainer defaults"])),
    ]
    if auto == "bf16":
        half = ratio(best, values["Trainer bf16"])
        claims += [
            at_least(f"{work}, bf16", "Trainer, bf16, batch 32", SAME_PRECISION, half),
            reported(f"{work}, bf16 (auto)", "Trainer, fp32, batch 32", ratio(best, trainer)),
            reported(f"{work}, fp32", "plain loop, fp32", ratio(fp32, values["plain loop fp32"])),
        ]
    return claims
