"""How fast the machine multiplies matrices: the limit of every training, measured in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.speed.ours import build
from benchmarks.speed.settings import Settings
from thawline.model.blocks import partition
from thawline.model.load import LoadedModel
from thawline.model.work import WorkTable

SMALLEST, LARGEST = 256, 4096
"""Rows and columns of both matrices."""
LONG_ENOUGH = 0.05
"""Seconds of a product from which larger matrices change nothing; where bf16 is emulated, small ones take longer."""
PRODUCTS = 5
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def product(
    settings: Settings, *, precision: str, clock: Callable[[], float] = time.perf_counter
) -> Callable[[], float]:
    """Billions of floating-point operations a second of `clock`; a multiplication and an addition are two."""
    size = SMALLEST
    while size < settings.small(LARGEST, SMALLEST) and _seconds(settings, precision, size, clock) < LONG_ENOUGH:
        size *= 2

    def measure() -> float:
        return 2e-9 * size**3 / statistics.median(_seconds(settings, precision, size, clock) for _ in range(PRODUCTS))

    return measure


def _seconds(settings: Settings, precision: str, size: int, clock: Callable[[], float]) -> float:
    """Duration of the second of two products of random matrices; the first one also allocates memory."""
    left, right = (torch.randn(size, size).to(settings.device, _TYPES[precision]) for _ in range(2))
    stamps = []
    for _ in range(3):
        stamps.append(clock())
        torch.mm(left, right)
        if settings.device == "cuda":
            torch.cuda.synchronize()
    return stamps[2] - stamps[1]


def operations(settings: Settings, *, name: str) -> Callable[[], float]:
    """`operations_of` a network of the benchmark, as a side."""
    count = operations_of(build(settings.named(name), 10, settings.image_size))
    return lambda: count


def operations_of(model: LoadedModel) -> float:
    """Billions of operations that fine-tuning a whole network needs for one image: forward, and both gradients."""
    size = model.preprocessing.image_size
    table = WorkTable.measure(model.module, partition(model.module, "stage", size), size)
    # The images themselves need no gradient.
    return (3 * table.flops - table.blocks[0].entry_flops) / 1e9
