"""Layers that the user's code draws at random: freezing them would freeze noise and call it pretrained."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import takewhile

import torch
from torch import Tensor, nn

from thawline.model.atoms import join
from thawline.model.execution import is_layer, owns_tensors, record_execution


def drawn_weights(module: nn.Module, again: nn.Module) -> frozenset[str]:
    """Names of the parameters that differ between two networks of one factory, built from different random seeds."""
    others = dict(again.named_parameters())
    return frozenset(
        name for name, weight in module.named_parameters() if name in others and _differ(weight, others[name])
    )


def _differ(weight: Tensor, other: Tensor) -> bool:
    # The parameters of lazy layers are drawn when the first batch runs, which the second network never sees.
    if isinstance(other, nn.UninitializedParameter):
        return True
    return weight is not other and not torch.equal(weight, other.to(weight))


def nothing_is_pretrained(module: nn.Module, drawn: frozenset[str]) -> bool:
    """Whether every convolution and linear layer is drawn at random."""
    layers = {name: part for name, part in module.named_modules() if is_layer(part)}
    return all(_is_drawn(name, part, drawn) for name, part in layers.items())


def drawn_before_head(module: nn.Module, head: str, drawn: frozenset[str], image_size: int) -> list[str]:
    """Modules that run just before the layer `head` and are drawn at random as it is, norm layers between them too."""
    parts = dict(module.named_modules())
    order = [name for name in record_execution(module, image_size).order if owns_tensors(parts[name])]

    def belongs(name: str) -> bool:
        return _is_redrawable(parts[name]) and (_is_drawn(name, parts[name], drawn) or _is_as_built(parts[name]))

    found = list(takewhile(belongs, reversed(order[: order.index(head)])))
    while found and not _is_drawn(found[-1], parts[found[-1]], drawn):
        found.pop()  # a norm layer at the end may be a pretrained one
    return found[::-1]


def _is_drawn(name: str, part: nn.Module, drawn: frozenset[str]) -> bool:
    """Whether a weight of two or more dimensions is drawn: a new bias alone does not make a layer a new one."""
    own = part._parameters.items()
    return any(join(name, key) in drawn for key, weight in own if weight is not None and weight.ndim > 1)


def _is_redrawable(part: nn.Module) -> bool:
    return callable(getattr(part, "reset_parameters", None))


def _is_as_built(part: nn.Module) -> bool:
    """Whether initialisation leaves the module as it is, as norm layers that have not seen a batch."""
    anew = copy.deepcopy(part)
    reset: Callable[[], object] = anew.reset_parameters  # type: ignore[assignment]
    reset()
    before = part.state_dict()
    return all(torch.equal(value, before[name]) for name, value in anew.state_dict().items())
