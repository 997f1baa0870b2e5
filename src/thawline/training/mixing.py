"""Weight interpolation (WiSE-FT, Wortsman et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from thawline.model.apply import AppliedPlan


def mixed(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """(1 - share) x start + share x end; integer tensors (counters) are taken from `end`."""
    return {
        name: start[name].lerp(tensor, share) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in end.items()
    }


@contextmanager
def fresh_statistics(applied: AppliedPlan, epoch: int) -> Iterator[None]:
    """Within the context, batch norms that train in `epoch` recompute their statistics; all else is in eval mode."""
    applied.start_epoch(epoch)
    norms = [module for module in applied.model.modules() if isinstance(module, _BatchNorm) and module.training]
    applied.model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.training = True
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        applied.model.eval()
