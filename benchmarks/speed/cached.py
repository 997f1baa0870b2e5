"""A training whose first blocks are frozen, with the cache of their outputs and without."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.speed import ours
from benchmarks.speed.images import Images
from benchmarks.speed.measuring import at_least, figures, interleaved, ratio, reported
from benchmarks.speed.settings import Settings
from thawline.config import CacheConfig
from thawline.training.trainer import Trainer

MEMORY_BYTES = 2**30
"""A cache in memory only: a cache on disk could serve the next repetition, and each must pay for its own."""
WITH, WITHOUT = "with the cache", "without"


def measure(
    settings: Settings, *, spec: str, epochs: int, in_all: float, per_epoch: float | None = None
) -> dict[str, Any]:
    """Whole trainings on 1,000 images, 800 of them to train on; optimizer, seed and batches are the same."""
    count = settings.small(1_000, 60)
    images = Images.read(settings.data("flowers5"), count)
    epochs = settings.small(epochs, 3)
    runs: dict[str, list[ours.Timed]] = {WITH: [], WITHOUT: []}
    notes: set[str] = set()
    sides = {
        side: _side(settings, images, spec, epochs, budget, runs[side], notes)
        for side, budget in ((WITH, MEMORY_BYTES), (WITHOUT, 0))
    }
    totals = interleaved(sides, settings.times(5))
    later = {side: [statistics.median(run.later) for run in runs[side]] for side in runs}
    work = f"{spec}, {epochs} epochs, {count:,} images, {settings.network.name}"
    after = ratio(later[WITHOUT], later[WITH])
    claims = [at_least(f"{work}, in all", WITHOUT, in_all, ratio(totals[WITHOUT], totals[WITH]))]
    each = f"{work}, each epoch after the first"
    claims.append(reported(each, WITHOUT, after) if per_epoch is None else at_least(each, WITHOUT, per_epoch, after))
    first = {f"{side}, first epoch": [run.epochs[0] for run in runs[side]] for side in runs}
    each_later = {f"{side}, later epochs": values for side, values in later.items()}
    return {
        "sides": figures({**totals, **first, **each_later}, "s"),
        "claims": claims,
        "facts": {
            "cache_memory_bytes": MEMORY_BYTES,
            "notes": sorted(notes),
            **_equality(runs[WITH][-1], runs[WITHOUT][-1]),
        },
    }


def _side(
    settings: Settings,
    images: Images,
    spec: str,
    epochs: int,
    memory_bytes: int,
    runs: list[ours.Timed],
    notes: set[str],
) -> Callable[[], float]:
    model = ours.build(settings.network, images.classes, settings.image_size)
    data = ours.split(images, ours.decode(images, model, settings), train=len(images.paths) * 4 // 5)
    config = ours.configured(settings, model, epochs=epochs)
    plan, blocks = ours.planned(spec, model, epochs)

    def once() -> float:
        # A new trainer has an empty cache.
        trainer = Trainer(model, data, config, cache=CacheConfig(memory_bytes, 0), note=notes.add)
        runs.append(ours.timed(trainer, plan, blocks))
        return runs[-1].seconds

    return once


def _equality(first: ours.Timed, other: ours.Timed) -> dict[str, Any]:
    """Whether both ways gave the same training."""
    state, expected = first.trained.state, other.trained.state
    return {
        "equal_epochs": first.trained.epochs == other.trained.epochs,
        "equal_weights": all(torch.equal(state[name], expected[name]) for name in expected),
    }
