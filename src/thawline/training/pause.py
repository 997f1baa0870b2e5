"""A training that stops in the middle, and goes on later as if it had not."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from thawline.model.apply import AppliedPlan, load_trained_state
from thawline.training.best import Best


@dataclass(frozen=True)
class Paused:
    """All it takes to go on; what is drawn at random follows from the seed and the epoch."""

    epoch: int
    """The next one, from 0."""
    network: Mapping[str, Tensor] = field(repr=False)
    """Parameters and buffers of the trained blocks as they were left, those of adapters included."""
    optimizer: Mapping[str, Any] = field(repr=False)
    best: Best = field(repr=False)

    @property
    def bytes(self) -> int:
        """Memory that the tensors take."""
        states = (value for state in self.optimizer["state"].values() for value in state.values())
        tensors = (*self.network.values(), *self.best.state.values(), *states)
        return sum(one.nbytes for one in tensors if isinstance(one, Tensor))

    @classmethod
    def at(cls, epoch: int, applied: AppliedPlan, best: Best) -> Paused:
        """Keep copies of what moves."""
        trained = {name for block in applied.blocks if block.name in applied.plan.trained for name in block.modules}
        tensors = (*applied.model.named_parameters(), *applied.model.named_buffers())
        network = {name: tensor.detach().clone() for name, tensor in tensors if _owner(name) in trained}
        return cls(epoch, network, copy.deepcopy(applied.optimizer.state_dict()), best)

    def restore(self, applied: AppliedPlan) -> tuple[Best, int]:
        """Put everything back where it was; the best so far and the next epoch. What is kept here does not change."""
        load_trained_state(applied.model, self.network)
        applied.optimizer.load_state_dict(copy.deepcopy(dict(self.optimizer)))
        return replace(self.best, epochs=list(self.best.epochs)), self.epoch


def _owner(tensor: str) -> str:
    """The module that a parameter or buffer belongs to; for a factor of an adapter, the module that it adapts."""
    adapted, _, factor = tensor.partition(".parametrizations.")
    return adapted if factor else tensor.rpartition(".")[0]
