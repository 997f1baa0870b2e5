"""The loop of the usual tutorial: fp32, a DataLoader that decodes JPEGs with Pillow, torch.optim.AdamW."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from benchmarks.speed.images import DecodedEachTime, Images, usual_transform
from benchmarks.speed.ours import build
from benchmarks.speed.settings import BATCH, RATE, Settings

WORKERS = 2
"""Loader workers, as in the tutorials; they come on top of the training's own threads."""
WARM_UP = 3
"""Steps before the clock starts: the workers' start is not counted against the loop."""


def full_fine_tuning(settings: Settings, *, name: str, steps: int) -> Callable[[], float]:
    """Images per second over `steps` steps, without validation."""
    images = Images.of_steps(settings)
    model = build(settings.named(name), images.classes, settings.image_size)
    module, device = model.module.to(settings.device), torch.device(settings.device)
    optimizer = torch.optim.AdamW(module.parameters(), RATE)
    some = images.repeated(BATCH * (WARM_UP + steps))
    loader = DataLoader(
        DecodedEachTime(some, usual_transform(model.preprocessing)), BATCH, shuffle=True, num_workers=WORKERS
    )

    def measure() -> float:
        module.train()
        running_loss, started = 0.0, 0.0
        for step, (pixels, labels) in enumerate(loader):
            if step == WARM_UP:
                started = time.perf_counter()
            pixels, labels = pixels.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = F.cross_entropy(module(pixels), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            running_loss += loss.item()
        return steps * BATCH / (time.perf_counter() - started)

    return measure
