"""Pausing a training and resuming it with identical results."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypedDict, cast

from torch import Tensor

from thawline.model.apply import AppliedPlan, load_trained_state
from thawline.training.best import Best

PAUSED_BYTES = 1 << 30
"""Memory that paused trainings may take, besides the caches; those beyond it begin anew when they are continued."""


class OptimizerState(TypedDict):
    """An optimizer's `state_dict()`."""

    state: dict[int, dict[str, object]]
    """Moments and step counters of every parameter."""
    param_groups: list[dict[str, object]]


@dataclass(frozen=True)
class Paused:
    """State needed to resume; random numbers are determined by the seed and the epoch."""

    epoch: int
    """The next epoch, from 0."""
    network: Mapping[str, Tensor] = field(repr=False)
    """Current parameters and buffers of the trained blocks, including adapters."""
    optimizer: OptimizerState = field(repr=False)
    best: Best = field(repr=False)

    @property
    def bytes(self) -> int:
        """Memory taken by the tensors."""
        states = (value for state in self.optimizer["state"].values() for value in state.values())
        tensors = (*self.network.values(), *self.best.state.values(), *states)
        return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, Tensor))

    @classmethod
    def at(cls, epoch: int, applied: AppliedPlan, best: Best) -> Paused:
        """Copy everything that training changes."""
        trained = {name for block in applied.blocks if block.name in applied.plan.trained for name in block.modules}
        tensors = (*applied.model.named_parameters(), *applied.model.named_buffers())
        network = {name: tensor.detach().clone() for name, tensor in tensors if _owner(name) in trained}
        state = cast("OptimizerState", copy.deepcopy(applied.optimizer.state_dict()))
        return cls(epoch, network, state, best)

    def restore(self, applied: AppliedPlan) -> tuple[Best, int]:
        """Restore the state; returns the best so far and the next epoch. `self` is not modified by the training."""
        load_trained_state(applied.model, self.network)
        applied.optimizer.load_state_dict(copy.deepcopy(dict(self.optimizer)))
        return replace(self.best, epochs=list(self.best.epochs)), self.epoch


def keep_latest(kept: dict[str, Paused], key: str, paused: Paused, limit_bytes: int = PAUSED_BYTES) -> None:
    """Keep the latest paused trainings, by key, as many as fit."""
    kept[key] = paused
    while kept and sum(each.bytes for each in kept.values()) > limit_bytes:
        kept.pop(next(iter(kept)))


def _owner(tensor: str) -> str:
    """The module that a parameter or buffer belongs to; for adapters, the adapted module."""
    adapted, _, factor = tensor.partition(".parametrizations.")
    return adapted if factor else tensor.rpartition(".")[0]
