"""Relative gradient norms of tensors (Auto-RGN, Lee et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def relative_gradient_norms(parameters: Mapping[str, nn.Parameter], losses: Iterable[Tensor]) -> dict[str, float]:
    """Ratio of gradient norm to weight norm per tensor, averaged over `losses` (one per minibatch), largest = 1.

    Tensors without gradient have 0. Tensors of zeros with a gradient have 1 and are ignored in the scaling, because
    their ratio is infinite. Norms are computed in fp32; `.grad` is left unchanged.
    """
    named = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    totals = dict.fromkeys(parameters, 0.0)
    for loss in losses:
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
            if gradient is not None:
                totals[name] += _ratio(gradient.float().norm().item(), parameter.detach().float().norm().item())
    largest = max((total for total in totals.values() if math.isfinite(total)), default=0.0)
    return {name: min(1.0, total / largest) if largest else 1.0 for name, total in totals.items()}


def _ratio(gradient: float, size: float) -> float:
    if gradient == 0:
        return 0.0
    return gradient / size if size else math.inf
