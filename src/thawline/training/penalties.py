"""Penalties on the distance to the pretrained weights: L2-SP and L1-SP (Li et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from thawline.model.apply import AppliedPlan
from thawline.plan import Penalty


class StartingPoint:
    """Remembers the initial weights and pulls towards them.

    As in the authors' code, only weights of convolutions and linear layers are penalised, not norm layers and biases;
    the head is pulled towards zero.
    """

    def __init__(self, penalty: Penalty, applied: AppliedPlan) -> None:
        """Create it before the first step."""
        self.penalty = penalty
        head = set(applied.blocks[-1].parameters)
        pulled = {name: parameter for name, parameter in applied.parameters.items() if parameter.ndim > 1}
        self.head = [parameter for name, parameter in pulled.items() if name in head]
        self.body = {name: parameter for name, parameter in pulled.items() if name not in head}
        self.start = {name: parameter.detach().clone() for name, parameter in self.body.items()}

    def loss(self) -> Tensor:
        """Penalty added to the loss of a step: for L2-SP of body and head, for L1-SP of the head only.

        `after_step` handles the absolute distance, because an adaptive optimizer would normalize its gradient.
        """
        loss = self.penalty.head_strength / 2 * _sum_of_squares(self.head)
        if self.penalty.kind == "l2_sp":
            distances = [self.body[name] - start for name, start in self.start.items()]
            loss = loss + self.penalty.strength / 2 * _sum_of_squares(distances)
        return loss

    @torch.no_grad()
    def after_step(self, rates: Mapping[str, float]) -> None:
        """L1-SP as a decoupled proximal step: shrink each distance by rate x strength, at most to zero.

        `rates` are the learning rates of this step by parameter name; other parameters are currently frozen.
        """
        if self.penalty.kind == "l1_sp":
            for name, rate in rates.items():
                if name in self.body:
                    start, parameter = self.start[name], self.body[name]
                    distance = torch.nn.functional.softshrink(parameter - start, rate * self.penalty.strength)
                    parameter.copy_(start + distance)


def _sum_of_squares(tensors: Sequence[Tensor]) -> Tensor:
    if not tensors:
        return torch.zeros(())
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum()
