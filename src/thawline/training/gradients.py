"""How much each tensor wants to move: relative gradient norms (Auto-RGN, Lee et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

SMALLEST_NORM = 1e-12
"""Some weights start at zero, such as the last norm of a residual branch."""


def relative_gradient_norms(parameters: Mapping[str, nn.Parameter], losses: Iterable[Tensor]) -> dict[str, float]:
    """Mean over `losses` (one per minibatch) of each tensor's gradient norm over its own norm, the largest scaled to 1.

    A tensor that gets no gradient has 0. Norms are taken in fp32; gradients of the parameters are not touched.
    """
    named = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    totals = dict.fromkeys(parameters, 0.0)
    for loss in losses:
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
            if gradient is not None:
                size = parameter.detach().float().norm().clamp_min(SMALLEST_NORM)
                totals[name] += (gradient.float().norm() / size).item()
    largest = max(totals.values(), default=0.0)
    return {name: total / largest if largest else 1.0 for name, total in totals.items()}
