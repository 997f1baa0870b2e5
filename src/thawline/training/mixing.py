"""Means of weights and outputs: interpolation (WiSE-FT) and model soups, both of Wortsman et al. 2022."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

LEAST_PROBABILITY = 1e-12
"""What a probability counts as at least where its logarithm is taken."""


def mixed(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """(1 - share) x start + share x end; integer tensors (counters) are taken from `end`."""
    return {
        name: start[name].lerp(tensor, share) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in end.items()
    }


def mean_state(states: Iterable[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """The weighted mean of states with the same tensors; integer tensors (counters) are those of the last."""
    mean: dict[str, Tensor] = {}
    total = 0.0
    for state, share in zip(states, shares, strict=True):
        total += share
        # A running mean, so that what is the same everywhere keeps its bits.
        mean = mixed(mean, state, share / total) if mean else dict(state)
    return mean


def weighted_mean(tensors: Iterable[Tensor], shares: Sequence[float]) -> Tensor:
    """The weighted mean of floating-point tensors of one shape."""
    return mean_state(({"": tensor} for tensor in tensors), shares)[""]


def to_logits(probabilities: Tensor) -> Tensor:
    """Logits whose softmax the probabilities are."""
    return probabilities.clamp_min(LEAST_PROBABILITY).log()


@contextmanager
def fresh_statistics(network: nn.Module, norms: Collection[_BatchNorm]) -> Iterator[None]:
    """Within the context, some batch norms recompute their statistics; all else is in eval mode."""
    network.eval()
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
        network.eval()
