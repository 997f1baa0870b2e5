"""A network as it lies in memory: its layout, its printed form, and what a trial pass may change of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def in_channels_last(model: nn.Module) -> bool:
    """Have its convolutions work on [B, H, W, C] in memory, in place; whether that is possible."""
    if any(parameter.ndim > 4 for parameter in model.parameters()):  # the layout is for four dimensions only
        return False
    model.to(memory_format=torch.channels_last)
    return True


def structure(model: nn.Module) -> str:
    """The modules of a network in words, without addresses in memory: the same text in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(model))


@contextmanager
def left_unchanged(model: nn.Module) -> Iterator[None]:
    """Restore modes and buffers afterwards: a batch in training mode updates running statistics."""
    modes = {module: module.training for module in model.modules()}
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])
