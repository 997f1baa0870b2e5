"""Whether time grows with the number of images, and no faster."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.speed import ours
from benchmarks.speed.measuring import at_most, figures, interleaved, reported
from benchmarks.speed.settings import Settings
from thawline.config import DataConfig
from thawline.data.check import check
from thawline.data.pixels import PixelStore, build_pixels
from thawline.data.sources import ImageSet, read_images
from thawline.data.splits import Splits, draw_splits, limit_images
from thawline.model.load import LoadedModel
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.trainer import Trainer

SIZES = (250, 1_000, 4_000)
EPOCHS = 2
DEVIATION = 0.10
TRAINING, DECODING, CHECKS = "training", "with decoding", "with decoding and checks"


def measure(settings: Settings) -> dict[str, Any]:
    """Milliseconds per image of one full fine-tuning at each of `SIZES`, in turn."""
    sizes = tuple(settings.small(size, size // 5) for size in SIZES)
    kept: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    interleaved({f"{size} images": _side(settings, size, kept[size]) for size in sizes}, settings.times(5))
    parts = {
        part: {size: [sample[part] for sample in kept[size]] for size in sizes} for part in (TRAINING, DECODING, CHECKS)
    }
    work = f"full fine-tuning, {EPOCHS} epochs, {settings.network.name}, {settings.image_size} px"
    claims = [
        at_most(f"{work}, {TRAINING}", "linear growth", DEVIATION, _deviation(parts[TRAINING]), unit=" off"),
        at_most(f"{work}, {DECODING}", "linear growth", DEVIATION, _deviation(parts[DECODING]), unit=" off"),
        reported(f"{work}, {CHECKS}", "linear growth", _deviation(parts[CHECKS]), unit=" off"),
    ]
    sides = {f"{size} images, {part}": values for part, by_size in parts.items() for size, values in by_size.items()}
    return {"sides": figures(sides, "ms/image"), "claims": claims, "facts": {"epochs": EPOCHS}}


def _deviation(by_size: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    """Dearest over cheapest time per image of the three sizes, less 1: of the medians, and in each repetition."""
    spreads = [max(row) / min(row) - 1 for row in zip(*by_size.values(), strict=True)]
    medians = [statistics.median(values) for values in by_size.values()]
    return {
        "median": max(medians) / min(medians) - 1,
        "lowest": min(spreads),
        "highest": max(spreads),
        "n": len(spreads),
    }


def _side(settings: Settings, size: int, kept: list[dict[str, float]]) -> Callable[[], float]:
    """Takes everything from the files to the trained network, and returns the training's time per image."""
    images = limit_images(read_images(settings.data("flowers5")), size, seed=0)
    model = ours.build(settings.network, len(images.classes), settings.image_size)

    def once() -> float:
        started = time.perf_counter()
        pixels = _decode(settings, images, model)
        decoded = time.perf_counter()
        splits = draw_splits(images, check(images, facts=pixels.facts).hashes, DataConfig())
        checked = time.perf_counter()
        training = _train(settings, images, splits, pixels, model)
        seconds = (training, training + decoded - started, training + checked - started)
        kept.append(
            {part: 1000 * each / size for part, each in zip((TRAINING, DECODING, CHECKS), seconds, strict=True)}
        )
        return kept[-1][TRAINING]

    return once


def _decode(settings: Settings, images: ImageSet, model: LoadedModel) -> PixelStore:
    cache = settings.runs / "growth-pixels"
    shutil.rmtree(cache, ignore_errors=True)
    return build_pixels(images.paths, model.preprocessing, cache=cache, threads=settings.threads)


def _train(settings: Settings, images: ImageSet, splits: Splits, pixels: PixelStore, model: LoadedModel) -> float:
    config = ours.configured(settings, model, epochs=EPOCHS)
    plan, blocks = ours.planned("full", model, EPOCHS)
    labels = torch.tensor(images.targets)
    rows: dict[str, np.ndarray] = {name: splits.indices(name) for name in ("train", "val")}
    parts = {name: LabelledRows(rows[name], labels[rows[name]]) for name in rows}
    trainer = Trainer(model, TrainingData(pixels.array, parts["train"], parts["val"]), config)
    return ours.timed(trainer, plan, blocks).seconds
