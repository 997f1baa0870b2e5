"""Low-rank adapters on convolutions and linear layers (LoRA, Hu et al. 2021), merged after training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from thawline.model.atoms import join
from thawline.model.head import seeded
from thawline.plan import Adapter, Block


class LowRank(nn.Module):
    """Adds scale x (up @ down), in the weight's shape, to a weight [out, ...]; initially zero, because `up` is zero.

    For a k x k convolution, `down` is a convolution with r filters [in, k, k] and `up` a 1 x 1 convolution to out.
    """

    def __init__(self, weight: Tensor, adapter: Adapter) -> None:
        super().__init__()
        rank = min(adapter.rank, weight.shape[0], weight[0].numel())
        self.scale = adapter.scale
        # Drawn on the CPU, because that is the generator that `seeded` seeds.
        down = nn.init.kaiming_uniform_(torch.empty(rank, weight[0].numel()), a=math.sqrt(5))
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight plus its low-rank update."""
        return weight + self.scale * (self.up @ self.down).view(weight.shape)


def adaptable_weights(model: nn.Module, block: Block) -> dict[str, tuple[nn.Module, str]]:
    """Weights of a block that can take an adapter, by name, as their module and its attribute.

    Those of linear layers, of ungrouped convolutions, and of `nn.MultiheadAttention`, which keeps q, k and v in bare
    parameters; `left_out` names the others. The head is trained in full. Weights that are shared between layers or
    computed from others (weight normalization) cannot be merged, so they get none either.
    """
    if block.is_head:
        return {}
    modules = dict(model.named_modules())
    holders = Counter(id(weight) for module in modules.values() for weight in module.parameters(recurse=False))
    found = {join(name, weight): (modules[name], weight) for name in block.modules for weight in _dense(modules[name])}
    return {name: place for name, place in found.items() if holders[id(getattr(*place))] == 1}


def left_out(model: nn.Module, blocks: Sequence[Block]) -> list[str]:
    """Weights of two or more dimensions that stay as pretrained although their block trains with adapters."""
    parameters = dict(model.named_parameters())
    matrices = {n for block in blocks if not block.is_head for n in block.parameters if parameters[n].ndim > 1}
    adaptable = {name for block in blocks for name in adaptable_weights(model, block)}
    return [name for name in parameters if name in matrices - adaptable]


def install(model: nn.Module, blocks: Sequence[Block], adapter: Adapter, seed: int) -> dict[str, list[nn.Parameter]]:
    """Add adapters, initialised from `seed`, to the weights of `blocks`; returns the new parameters by block."""
    parameters: dict[str, list[nn.Parameter]] = {}
    with seeded(seed):
        for block in blocks:
            for module, weight in adaptable_weights(model, block).values():
                low_rank = LowRank(module.get_parameter(weight).detach(), adapter)
                parametrize.register_parametrization(module, weight, low_rank)
                parameters.setdefault(block.name, []).extend((low_rank.down, low_rank.up))
    return parameters


def merged_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights with adapters, their updates merged, by their names without adapters."""
    with torch.no_grad():
        return {
            join(name, weight): getattr(module, weight).clone()
            for name, module in model.named_modules()
            for weight in _adapted(module)
        }


def remove(model: nn.Module) -> None:
    """Remove all adapters; the weights are then bit-identical to those before `install`."""
    for module in list(model.modules()):
        adapted = _adapted(module)
        for weight in adapted:
            parametrize.remove_parametrizations(module, weight, leave_parametrized=False)
        if adapted:
            _put_first(module, adapted)


def _put_first(module: nn.Module, names: Sequence[str]) -> None:
    """Restore the order of the parameters: removing a parametrization registers the weight after the bias."""
    for name, parameter in list(module._parameters.items()):
        if name not in names:
            delattr(module, name)
            module.register_parameter(name, parameter)


def _dense(module: nn.Module) -> tuple[str, ...]:
    """Attributes of a module's weights that multiply its input."""
    if isinstance(module, nn.MultiheadAttention):
        return tuple(name for name in _ATTENTION if getattr(module, name) is not None)
    is_dense = isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
    return ("weight",) if is_dense else ()


_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
"""Weights of `nn.MultiheadAttention`, in the order of their registration."""


def _adapted(module: nn.Module) -> tuple[str, ...]:
    """Attributes with adapters: models may have other parametrizations, which must be kept."""
    names = tuple(module.parametrizations) if parametrize.is_parametrized(module) else ()  # type: ignore[arg-type]
    return tuple(name for name in names if isinstance(module.get_submodule(f"parametrizations.{name}.0"), LowRank))
