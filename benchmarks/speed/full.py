"""Full fine-tuning, images per second: ours, the usual loop, Hugging Face's Trainer; each in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from benchmarks.speed import hf_trainer, ours
from benchmarks.speed.images import Images
from benchmarks.speed.measuring import at_least, figure, figures, interleaved, ratio, reported, shares, spread
from benchmarks.speed.settings import BATCH, PRECISIONS, Settings
from benchmarks.speed.side import Side
from benchmarks.speed.utilization import Watched

STEPS = 20
MATRIX = "matrix product"


def measure(
    settings: Settings,
    *,
    name: str,
    over_plain: float,
    over_defaults: float,
    over_trainer: float = 1.2,
    of_matrix: float | None = None,
) -> dict[str, Any]:
    """All sides in turn, `STEPS` steps each time, on decodes and labels of real images.

    `over_plain`, `over_defaults` and `over_trainer` (same precision and batch) are the ratios wanted; `of_matrix` is
    the share of the matrix rate wanted in bf16, in percent.
    """
    auto = _auto_precision(settings, name)
    with ExitStack() as stack:
        sides = {side: Watched(stack.enter_context(run)) for side, run in _sides(settings, name, auto).items()}
        operations = stack.enter_context(Side("matrix.operations", settings, name=name))()
        values = interleaved(sides, settings.times(5))
    limits = {precision: values.pop(f"{MATRIX} {precision}") for precision in PRECISIONS}
    reached = {side: shares(rates, operations, limits[_precision_of(side)]) for side, rates in values.items()}
    work = f"full fine-tuning, {name}, {settings.image_size} px"
    claims = _claims(values, work, auto, over_plain, over_defaults, over_trainer)
    if of_matrix is not None and auto == "bf16":
        half = reached["ours bf16"]
        claims.append(at_least(f"{work}, bf16", "the matrix rate in bf16", of_matrix, spread(half), unit=" %"))
    busy = {side: figure(watched.percent, "% GPU") for side, watched in sides.items() if watched.percent}
    return {
        "sides": {
            **figures(values, "images/s"),
            **figures({f"{MATRIX} {precision}": rates for precision, rates in limits.items()}, "GFLOP/s"),
            **figures({f"{side}: of the matrix rate": percent for side, percent in reached.items()}, "%"),
        },
        "claims": claims,
        "facts": {
            "auto_precision": auto,
            "batch": BATCH,
            "steps": settings.small(STEPS, 2),
            "gflop_per_image": operations,
            "gpu_utilization": busy,
        },
    }


def _auto_precision(settings: Settings, name: str) -> str:
    classes = Images.of_steps(settings).classes
    return ours.configured(settings, ours.build(settings.named(name), classes, settings.image_size)).precision


def _sides(settings: Settings, name: str, auto: str) -> dict[str, Side]:
    """Precisions are those that a claim needs: fp32 everywhere, and bf16 where `auto` chooses it."""
    steps = settings.small(STEPS, 2)
    small_batches = steps * BATCH // hf_trainer.DEFAULT_BATCH  # as many images

    def trained(module: str, **arguments: Any) -> Side:
        return Side(f"{module}.full_fine_tuning", settings, name=name, **{"steps": steps, **arguments})

    sides = {
        **{f"{MATRIX} {each}": Side("matrix.product", settings, precision=each) for each in PRECISIONS},
        "plain loop fp32": trained("plain_loop"),
        "ours fp32": trained("ours", precision="fp32"),
        "Trainer fp32": trained("hf_trainer", batch=BATCH),
        "Trainer defaults": trained("hf_trainer", steps=small_batches, batch=None),
    }
    if auto == "bf16":
        sides["ours bf16"] = trained("ours", precision="bf16")
        sides["Trainer bf16"] = trained("hf_trainer", precision="bf16", batch=BATCH)
    return sides


def _precision_of(side: str) -> str:
    return "bf16" if side.endswith("bf16") else "fp32"


def _claims(
    values: Mapping[str, list[float]],
    work: str,
    auto: str,
    over_plain: float,
    over_defaults: float,
    over_trainer: float,
) -> list[dict[str, Any]]:
    best, plain = values[f"ours {auto}"], values["plain loop fp32"]
    fp32, trainer = values["ours fp32"], values["Trainer fp32"]
    defaults = ratio(best, values["Trainer defaults"])
    claims = [
        at_least(f"{work}, {auto} (auto)", "plain loop, fp32", over_plain, ratio(best, plain)),
        at_least(f"{work}, {auto} (auto)", "Trainer, its defaults", over_defaults, defaults),
        at_least(f"{work}, fp32", "Trainer, fp32, batch 32", 1.2, ratio(fp32, trainer)),
    ]
    if auto == "bf16":
        half = ratio(best, values["Trainer bf16"])
        claims += [
            at_least(f"{work}, bf16", "Trainer, bf16, batch 32", over_trainer, half),
            reported(f"{work}, bf16 (auto)", "Trainer, fp32, batch 32", ratio(best, trainer)),
            reported(f"{work}, fp32", "plain loop, fp32", ratio(fp32, plain)),
        ]
    return claims
