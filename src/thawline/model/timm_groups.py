"""Groups of tensors by name: timm's, or thawline's own where timm has none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from timm.models import group_parameters
from torch import nn

from thawline.model.atoms import Atom, join
from thawline.model.execution import is_layer
from thawline.plan import Granularity

_FEWEST_STAGES = 4
"""Fewest children with layers (including the head's) that make a sensible partition."""


def group_ordinals(model: nn.Module, atoms: Iterable[Atom], granularity: Granularity) -> dict[str, float]:
    """Ordinal of each tensor's group; unmatched tensors (classifier, often a neck) have the highest ordinal.

    Groups come from timm's `group_matcher`, else from the modules in `feature_info`, else from the model's children.
    """
    names = [name for atom in atoms for name in (*atom.parameters, *atom.buffers)]
    matcher = _timm_matcher(model, coarse=granularity == "stage")
    if matcher is not None:
        return dict(group_parameters(cast("nn.Module", _Named(names)), matcher, reverse=True))
    prefixes = _own_prefixes(model, fine=granularity != "stage")
    unmatched = len(prefixes)
    return {name: next((i for i, p in enumerate(prefixes) if name.startswith(f"{p}.")), unmatched) for name in names}


@dataclass(frozen=True)
class _Named:
    """What `group_parameters` uses of a model. Buffers are grouped by the same patterns as parameters."""

    names: list[str]

    def named_parameters(self) -> Iterator[tuple[str, None]]:
        return ((name, None) for name in self.names)


def _timm_matcher(model: nn.Module, *, coarse: bool) -> object | None:
    if not hasattr(model, "group_matcher"):
        return None
    try:
        matcher: object = model.group_matcher(coarse=coarse)  # type: ignore[operator]
    except (AssertionError, NotImplementedError):  # rdnet has no coarse groups
        return None
    return matcher


def _own_prefixes(model: nn.Module, *, fine: bool) -> list[str]:
    features = [info["module"] for info in getattr(model, "feature_info", None) or [] if info.get("module")]
    if not fine:
        return features or _stages(model)
    divide = _parts if features else _sequence
    return [part for prefix in features or _stages(model) for part in divide(model, prefix)]


def _stages(model: nn.Module) -> list[str]:
    """The model's children; while too few of them contain layers, the largest is replaced by its own children.

    This keeps `features` (torchvision) or `backbone` (a wrapped network) from becoming a single block.
    """
    prefixes = [name for name, _ in model.named_children()]
    opened: list[str] = []
    while sum(_layer_count(model, prefix) > 0 for prefix in prefixes) < _FEWEST_STAGES:
        largest = max(prefixes, key=lambda prefix: _layer_count(model, prefix), default="")
        inner = [join(largest, name) for name, _ in model.get_submodule(largest).named_children()]
        if _layer_count(model, largest) < _FEWEST_STAGES or not inner:
            break
        at = prefixes.index(largest)
        prefixes[at : at + 1] = inner
        opened.append(largest)
    return [*prefixes, *reversed(opened)]  # an opened module stays, for the tensors that it owns directly


def _layer_count(model: nn.Module, prefix: str) -> int:
    return sum(map(is_layer, model.get_submodule(prefix).modules()))


def _sequence(model: nn.Module, prefix: str) -> list[str]:
    """The parts of a sequential stage; members of an opened sequence are parts already."""
    stage = model.get_submodule(prefix)
    if isinstance(stage, nn.Sequential):
        return [*(join(prefix, name) for name, _ in stage.named_children()), prefix]
    return [prefix] if "." in prefix else _parts(model, prefix)


def _parts(model: nn.Module, prefix: str) -> list[str]:
    """The repeated parts of a stage (`stages.1` -> `stages.1.blocks.0`, ...), then the stage itself for the rest."""
    stage = model.get_submodule(prefix)
    series = [
        f"{join(prefix, name)}.{number}"
        for name, child in stage.named_children()
        if isinstance(child, nn.Sequential | nn.ModuleList)
        for number, _ in child.named_children()
    ]
    return [*series, prefix]
