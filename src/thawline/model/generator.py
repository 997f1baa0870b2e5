"""The global generators of random numbers, which a process has only once: those of PyTorch, NumPy and Python."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_ALONE = threading.RLock()


@contextmanager
def generator_restored(device: torch.device | None = None) -> Iterator[None]:
    """Within the context, this thread alone draws from the global generators; they are restored afterwards.

    PyTorch's for the CPU and, if it is a GPU, for `device`, NumPy's and Python's. Where several threads train, their
    epochs take turns.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    with _ALONE, torch.random.fork_rng(devices=devices):
        of_numpy, of_python = np.random.get_state(), random.getstate()
        try:
            yield
        finally:
            np.random.set_state(of_numpy)
            random.setstate(of_python)
