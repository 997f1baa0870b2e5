"""Passes without gradients, images per second: a frozen prefix and `predict`, as they are and as they were before."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from benchmarks import predict as predictions
from benchmarks.speed import before, ours
from benchmarks.speed.images import Images
from benchmarks.speed.measuring import at_least, figures, interleaved, ratio
from benchmarks.speed.settings import ALLOCATOR_ALONE, BATCH, Settings
from benchmarks.speed.side import Side
from thawline.config import PredictOptions
from thawline.prediction.opened import open_classifier
from thawline.prediction.predict import open_predict
from thawline.training.trainer import Trainer

FASTER = 1.5
AGAINST = "itself, not fused, freed memory not kept"


def measure(settings: Settings, *, function: str, works: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Every work today and as before, all in turn; `works` are the arguments of `function` by name of the work."""
    now, then = "{}, today", "{}, before"
    with ExitStack() as stack:
        sides = {}
        for work, arguments in works.items():
            today = Side(f"passes.{function}", settings, as_before=False, **arguments)
            past = Side(f"passes.{function}", settings, variables=ALLOCATOR_ALONE, as_before=True, **arguments)
            sides[now.format(work)] = stack.enter_context(today)
            sides[then.format(work)] = stack.enter_context(past)
        rates = interleaved(sides, settings.times(5))
    pairs = {work: ratio(rates[now.format(work)], rates[then.format(work)]) for work in works}
    claims = [at_least(work, AGAINST, FASTER, pair) for work, pair in pairs.items()]
    return {"sides": figures(rates, "images/s"), "claims": claims, "facts": {"batch": BATCH}}


@torch.no_grad()
def prefix(settings: Settings, *, name: str, as_before: bool) -> Callable[[], float]:
    """The first half of a network's blocks on real images."""
    if as_before:
        before.unfused()
    images = Images.read(settings.data("dtd10"), limit=settings.small(320, 64))
    model = ours.build(settings.named(name), images.classes, settings.image_size)
    data = ours.split(images, ours.decode(images, model, settings), train=len(images.paths) - ours.VAL_IMAGES)
    config = ours.configured(settings, model, epochs=1)
    trainer = Trainer(model, data, config)
    _, blocks = ours.planned("full", model, 1)
    behind = {module for block in blocks[len(blocks) // 2 :] for module in block.modules}
    rows = data.train.rows
    forward = trainer.forward
    boundary = forward.boundary_before(behind, rows[:BATCH])
    if boundary is None:
        raise SystemExit(f"{name} cannot be cut in the middle")
    forward.network.eval()
    batches = [trainer.images.batch(rows[start : start + BATCH], None) for start in range(0, len(rows), BATCH)]

    @torch.no_grad()
    def measure() -> float:
        with forward.fusion.on(boundary.stubs):
            boundary.prefix(batches[0])
            started = time.perf_counter()
            for batch in batches:
                boundary.prefix(batch)
            return len(rows) / (time.perf_counter() - started)

    return measure


def predict(settings: Settings, *, data: str, image_size: int, as_before: bool) -> Callable[[], float]:
    """MobileNetV2 x0.5 into a CSV file; opening the model and finding the images are not counted."""
    if as_before:
        before.unfused()
    runs = settings.runs / ("predict-before" if as_before else "predict")
    folder = predictions.model(settings.shared, runs, settings.small(image_size, 32))
    count = len(open_predict(open_classifier(folder), settings.data(data), PredictOptions()).paths)
    return lambda: count / predictions.csv_seconds(folder, settings.data(data), runs)
