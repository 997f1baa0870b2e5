"""Low-rank adapters on convolutions and linear layers (LoRA, Hu et al. 2021), merged after training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from thawline.model.head import seeded
from thawline.plan import Adapter, Block

WEIGHT = "weight"


class LowRank(nn.Module):
    """Adds scale x (up @ down) to a weight [out, ...], in the weight's shape; zero at the start, since up is zero.

    For a k x k convolution `down` is one of r filters [in, k, k] and `up` a 1 x 1 convolution from r to out.
    """

    def __init__(self, weight: Tensor, adapter: Adapter) -> None:
        super().__init__()
        rank = min(adapter.rank, weight.shape[0], weight[0].numel())
        self.scale = adapter.scale
        self.down = nn.Parameter(weight.new_empty(rank, weight[0].numel()))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its update."""
        return weight + self.scale * (self.up @ self.down).view(weight.shape)


def adapted_layers(model: nn.Module, block: Block) -> dict[str, nn.Module]:
    """Layers of a block that take an adapter, by name: linear ones and convolutions over all channels at once.

    Depthwise and grouped convolutions are tiny and stay as they are; the head trains whole.
    """
    if block.is_head:
        return {}
    modules = dict(model.named_modules())
    return {name: modules[name] for name in block.modules if _takes_adapter(modules[name])}


def install(model: nn.Module, blocks: Sequence[Block], adapter: Adapter, seed: int) -> dict[str, list[nn.Parameter]]:
    """Put adapters on the layers of `blocks`, drawn from `seed`; returns the new parameters by block."""
    parameters: dict[str, list[nn.Parameter]] = {}
    with seeded(seed):
        for block in blocks:
            for layer in adapted_layers(model, block).values():
                weight = layer.get_parameter(WEIGHT)
                low_rank = LowRank(weight.detach(), adapter)
                parametrize.register_parametrization(layer, WEIGHT, low_rank)
                parameters.setdefault(block.name, []).extend((low_rank.down, low_rank.up))
    return parameters


def merged_weights(model: nn.Module, blocks: Sequence[Block]) -> dict[str, Tensor]:
    """The weights of adapted layers with their updates in, by the name they have without adapters."""
    with torch.no_grad():
        return {
            f"{name}.{WEIGHT}": getattr(layer, WEIGHT).clone()
            for block in blocks
            for name, layer in adapted_layers(model, block).items()
            if parametrize.is_parametrized(layer, WEIGHT)
        }


def remove(model: nn.Module) -> None:
    """Take all adapters off; the weights are then those from before, bit for bit."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, WEIGHT):
            parametrize.remove_parametrizations(module, WEIGHT, leave_parametrized=False)


def _takes_adapter(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
