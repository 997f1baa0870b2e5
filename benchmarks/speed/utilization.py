"""How busy the GPU is meanwhile."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable

import torch

EVERY_SECONDS = 0.1


class Watched:
    """Calls a measurement and keeps the GPU's utilization during it, in percent."""

    def __init__(self, measure: Callable[[], float]) -> None:
        self.measure = measure
        self.percent: list[float] = []
        """Mean of each call; empty without a GPU, or without nvidia-ml-py."""

    def __call__(self) -> float:
        """The measurement's result."""
        samples: list[int] = []
        stop = threading.Event()
        thread = threading.Thread(target=_sample, args=(samples, stop), daemon=True)
        thread.start()
        try:
            return self.measure()
        finally:
            stop.set()
            thread.join()
            if samples:
                self.percent.append(statistics.fmean(samples))


def _sample(samples: list[int], stop: threading.Event) -> None:
    while torch.cuda.is_available() and not stop.wait(EVERY_SECONDS):
        try:
            samples.append(torch.cuda.utilization())
        except (ImportError, RuntimeError):  # no nvidia-ml-py, or no rights to ask
            return
