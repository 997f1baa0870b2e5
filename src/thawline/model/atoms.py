"""Atoms, the smallest parts of blocks: the tensors that a module owns directly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from thawline.model.execution import Execution, is_layer, leaf_modules, owns_tensors


@dataclass(frozen=True)
class Atom:
    """The tensors that a module owns directly; blocks are sets of atoms."""

    module: str
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    first: float
    """Position of the module's first call; if it never ran, just after the atom defined before it."""
    last: float
    """Position of the module's last call."""
    is_layer: bool
    """Whether it is a convolution or linear layer that ran."""
    is_container: bool
    """Whether submodules own tensors too, so that its position only says where it starts (a ViT's class token)."""
    group: float = 0.0
    """Ordinal of its timm group, set by `timm_groups`."""


def join(path: str, name: str) -> str:
    """Dotted name of a member of the module `path`; the root's path is ''."""
    return f"{path}.{name}" if path else name


def atoms_of(model: nn.Module, execution: Execution) -> list[Atom]:
    """All atoms in order of definition, with every tensor exactly once; tied parameters belong to their first user."""
    owners = {name: module for name, module in leaf_modules(model).items() if owns_tensors(module)}
    registered = _registered_names(model)
    claimed: set[int] = set()
    owned: dict[str, tuple[list[str], list[str]]] = {}
    for name in sorted(owners, key=lambda name: execution.first.get(name, float("inf"))):
        owned[name] = (
            _claim(owners[name]._parameters, registered, claimed),
            _claim(owners[name]._buffers, registered, claimed),
        )
    atoms: list[Atom] = []
    for name, module in owners.items():
        parameters, buffers = owned[name]
        if parameters or buffers:
            before = atoms[-1].first if atoms else -1.0
            atoms.append(
                Atom(
                    module=name,
                    parameters=tuple(parameters),
                    buffers=tuple(buffers),
                    first=execution.first.get(name, before + 1e-6),
                    last=execution.last.get(name, before + 1e-6),
                    is_layer=is_layer(module) and name in execution.first,
                    is_container=any(owns_tensors(child) for child in list(module.modules())[1:]),
                )
            )
    return atoms


def _registered_names(model: nn.Module) -> dict[int, str]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {id(tensor): name for name, tensor in tensors}


def _claim(tensors: Mapping[str, object], registered: Mapping[int, str], claimed: set[int]) -> list[str]:
    fresh = [id(tensor) for tensor in tensors.values() if tensor is not None and id(tensor) not in claimed]
    claimed.update(fresh)
    return [registered[key] for key in fresh]
