"""Time and memory of a plan's training steps on this machine, measured on a few real ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thawline.config import BASE_RATE
from thawline.errors import TooLittleMemoryError
from thawline.model.apply import AppliedPlan
from thawline.plan import Block, FineTunePlan
from thawline.training.trainer import Trainer

VALIDATION_SHARE = 1 / 3
"""Cost of a forward pass as a fraction of a full training step."""
STEPS = 2
"""Training steps that are timed."""


@dataclass(frozen=True)
class StepCost:
    """What a training step takes on this machine."""

    seconds_per_image: float
    memory_bytes: int
    """Counted as in `bytes_of_a_step`; 0 if it does not fit into memory."""


def step_cost(trainer: Trainer, plan: FineTunePlan, blocks: Sequence[Block], images: int | None = None) -> StepCost:
    """Median time of a few training steps, after a step that warms up and whose memory is counted.

    Of `images` at most; None = the batches of training. Where the plan does not fit into memory, the time is estimated
    from steps that train the head alone. Raises `TooLittleMemoryError` if not even those fit.
    """
    with suppress(TooLittleMemoryError):
        return _timed(trainer, plan, blocks, images)
    # Not within an `except` clause, whose error would keep what fills the memory.
    head = FineTunePlan.constant(blocks, {blocks[-1].name: BASE_RATE}, granularity=plan.granularity)
    return StepCost(_timed(trainer, head, blocks, images).seconds_per_image / VALIDATION_SHARE, 0)


def _timed(trainer: Trainer, plan: FineTunePlan, blocks: Sequence[Block], images: int | None) -> StepCost:
    count = min(images or trainer.config.batch_size, trainer.config.batch_size, len(trainer.data.train))
    with closing(trainer.try_steps(plan, blocks, 1 + STEPS, count)) as steps:
        memory = _bytes_of_next(steps, trainer)
        times = [time.perf_counter(), *(time.perf_counter() for _ in steps)]
    return StepCost(float(np.median(np.diff(times))) / count, memory)


def bytes_of_a_step(trainer: Trainer, plan: FineTunePlan, blocks: Sequence[Block]) -> int:
    """Bytes of weights, gradients, optimizer state and the activations saved for the backward pass, without caches."""
    with closing(trainer.try_steps(plan, blocks, 1)) as steps:
        return _bytes_of_next(steps, trainer)


def _bytes_of_next(steps: Iterator[AppliedPlan], trainer: Trainer) -> int:
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        applied = next(steps)
    trained: int = sum(p.nbytes for group in applied.optimizer.param_groups for p in group["params"])
    weights: int = sum(tensor.nbytes for tensor in trainer.network.state_dict().values())
    return weights + 3 * trained + sum(kept.values())
