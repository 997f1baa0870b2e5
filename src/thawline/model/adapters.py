"""Low-rank adapters on convolutions and linear layers (LoRA, Hu et al. 2021), merged after training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from thawline.model.head import seeded
from thawline.plan import Adapter, Block

WEIGHT = "weight"


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


def adaptable_layers(model: nn.Module, block: Block) -> dict[str, nn.Module]:
    """Layers of a block that can take an adapter, by name: linear layers and ungrouped convolutions.

    Depthwise and grouped convolutions are small and get none; the head is trained in full. Weights that are shared
    between layers or computed from others (weight normalisation) cannot be merged, so they get none either.
    """
    if block.is_head:
        return {}
    modules = dict(model.named_modules())
    holders = Counter(id(weight) for module in modules.values() for weight in module.parameters(recurse=False))
    return {
        name: modules[name]
        for name in block.modules
        if _is_dense(modules[name]) and holders[id(getattr(modules[name], WEIGHT))] == 1
    }


def install(model: nn.Module, blocks: Sequence[Block], adapter: Adapter, seed: int) -> dict[str, list[nn.Parameter]]:
    """Add adapters, initialised from `seed`, to the layers of `blocks`; returns the new parameters by block."""
    parameters: dict[str, list[nn.Parameter]] = {}
    with seeded(seed):
        for block in blocks:
            for layer in adaptable_layers(model, block).values():
                low_rank = LowRank(layer.get_parameter(WEIGHT).detach(), adapter)
                parametrize.register_parametrization(layer, WEIGHT, low_rank)
                parameters.setdefault(block.name, []).extend((low_rank.down, low_rank.up))
    return parameters


def merged_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights of the adapted layers with their updates merged, by their names without adapters."""
    with torch.no_grad():
        return {
            f"{name}.{WEIGHT}": getattr(module, WEIGHT).clone()
            for name, module in model.named_modules()
            if _is_adapted(module)
        }


def remove(model: nn.Module) -> None:
    """Remove all adapters; the weights are then bit-identical to those before `install`."""
    for module in filter(_is_adapted, list(model.modules())):
        parametrize.remove_parametrizations(module, WEIGHT, leave_parametrized=False)
        _put_weight_first(module)


def _put_weight_first(module: nn.Module) -> None:
    """Restore the order of the parameters: removing a parametrization registers the weight after the bias."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        if name != WEIGHT:
            delattr(module, name)
            module.register_parameter(name, parameter)


def _is_dense(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)


def _is_adapted(module: nn.Module) -> bool:
    """Whether the module has an adapter: models may have other parametrizations, which must be kept."""
    return parametrize.is_parametrized(module, WEIGHT) and isinstance(
        module.get_submodule("parametrizations.weight.0"), LowRank
    )
