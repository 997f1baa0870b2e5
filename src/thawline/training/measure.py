"""Time and memory of a plan's training steps on this machine, measured on a few real ones."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from thawline.plan import Block, FineTunePlan
from thawline.training.trainer import Trainer

VALIDATION_SHARE = 1 / 3
"""Cost of a forward pass as a fraction of a full training step."""
STEPS = 3
"""Training steps that are timed."""


def seconds_per_image(trainer: Trainer, plan: FineTunePlan, blocks: Sequence[Block]) -> float:
    """Median seconds per image over a few training steps, after a warm-up step."""
    times = [time.perf_counter()]
    for _ in trainer.try_steps(plan, blocks, STEPS + 1):
        times.append(time.perf_counter())
    return float(np.median(np.diff(times)[1:])) / min(trainer.config.batch_size, len(trainer.data.train))


def bytes_of_a_step(trainer: Trainer, plan: FineTunePlan, blocks: Sequence[Block]) -> int:
    """Bytes of weights, gradients, optimiser state and the activations saved for the backward pass, without caches."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    trained = 0
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        for applied in trainer.try_steps(plan, blocks, 1):
            trained = sum(p.nbytes for group in applied.optimizer.param_groups for p in group["params"])
    weights: int = sum(tensor.nbytes for tensor in trainer.network.state_dict().values())
    return weights + 3 * trained + sum(kept.values())
