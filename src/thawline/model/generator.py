"""PyTorch's global generator of random numbers, which a process has only once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_ALONE = threading.RLock()


@contextmanager
def generator_restored(device: torch.device | None = None) -> Iterator[None]:
    """Within the context, this thread alone draws from the global generators; they are restored afterwards.

    Those of the CPU and, if it is a GPU, of `device`. Where several threads train, their epochs take turns.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    with _ALONE, torch.random.fork_rng(devices=devices):
        yield
