"""Device, precision and threads: resolves `auto` to values that are recorded with the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from thawline.config import Device, Precision, TrainConfig
from thawline.errors import OptionError
from thawline.memory import keep_freed_memory
from thawline.training.precision import faster_precision

_PHYSICAL_CORES = torch.get_num_threads()
"""torch's default number of threads: physical cores, or OMP_NUM_THREADS."""

MOST_THREADS = 8
"""Threads per processor that a new run may ask for; one that is resumed keeps what it began with."""


def resolve(config: TrainConfig, network: nn.Module, image_size: int, note: Callable[[str], None]) -> TrainConfig:
    """Resolve device, precision and threads, and `apply` them.

    `image_size` is in pixels; `note` gets messages for the user.
    """
    resolved = replace(config, device=_device(config.device), threads=config.threads or _PHYSICAL_CORES)
    apply(resolved)
    if resolved.precision == "auto":
        resolved = replace(resolved, precision=_precision(resolved, network, image_size, note))
    return resolved


def apply(resolved: TrainConfig) -> None:
    """Have this process compute with the resolved threads, and with deterministic kernels."""
    torch.set_num_threads(resolved.threads)
    if resolved.device == "cpu":
        keep_freed_memory()
    # The same seed must give the same result; benchmarking kernels may choose another one each time.
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


@contextmanager
def settings_restored() -> Iterator[None]:
    """Afterwards PyTorch is set as it was before: a caller's notebook must not stay on one thread."""
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    deterministic, benchmark = cudnn.deterministic, cudnn.benchmark
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cudnn.deterministic, cudnn.benchmark = deterministic, benchmark


def require_threads(threads: int) -> None:
    """`OptionError` for more threads than this machine can run: they would wait for each other for ever."""
    most = MOST_THREADS * (os.cpu_count() or 1)
    if threads > most:
        raise OptionError(
            f"`threads` must be at most {most}, {MOST_THREADS} for each of this machine's {os.cpu_count()} processors, "
            f"got {threads}."
        )


def _device(wanted: Device) -> Device:
    available: dict[Device, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return next(device for device, there in available.items() if there)
    if not available[wanted]:
        there = ", ".join(device for device, yes in available.items() if yes)
        raise OptionError(f"`device` {wanted} is not available on this machine; available: {there}.")
    return wanted


def _precision(config: TrainConfig, network: nn.Module, image_size: int, note: Callable[[str], None]) -> Precision:
    """bf16 if the device supports it natively and, on a CPU, if training steps are faster."""
    if config.device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if config.device == "cpu" and _cpu_has_bf16():
        return faster_precision(network, image_size, config.threads, note)
    return "fp32"


def _cpu_has_bf16() -> bool:
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: allocated on the GPU, else resident in the process; 0 where unavailable (Windows)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return 0
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
