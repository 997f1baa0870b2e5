"""Where and how precisely to compute: `auto` becomes a fact that is recorded with the run."""

from __future__ import annotations

from dataclasses import replace

import torch

from thawline.config import Device, Precision, TrainConfig
from thawline.errors import OptionError

_PHYSICAL_CORES = torch.get_num_threads()
"""What torch chose at import, before anybody changed it: physical cores, or OMP_NUM_THREADS."""


def resolve(config: TrainConfig) -> TrainConfig:
    """The same configuration with device, precision and threads settled, and the threads set in this process."""
    device = _device(config.device)
    resolved = replace(
        config, device=device, precision=_precision(config.precision, device), threads=config.threads or _PHYSICAL_CORES
    )
    torch.set_num_threads(resolved.threads)
    return resolved


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
        raise OptionError(f"--device {wanted} is not available on this machine; available: {there}.")
    return wanted


def _precision(wanted: Precision, device: Device) -> Precision:
    """On CPUs fp32 is the default: small mobile networks trained slower in bf16 on a Zen 5 that has it natively."""
    if wanted != "auto":
        return wanted
    return "bf16" if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
