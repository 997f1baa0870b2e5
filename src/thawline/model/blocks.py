"""Partition of a network into blocks, in order of execution; every tensor and leaf module is in exactly one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from thawline.model.atoms import atoms_of
from thawline.model.execution import Execution, is_layer, leaf_modules, record_execution
from thawline.model.grouping import Group, ordered_groups
from thawline.model.head import head_modules
from thawline.model.naming import block_names, covering_prefixes
from thawline.plan import Block, Granularity


def partition(model: nn.Module, granularity: Granularity, image_size: int) -> tuple[Block, ...]:
    """The model's blocks in order of execution, the head last.

    Runs one blank image `[1, 3, image_size, image_size]`, also on the meta device; the model is left unchanged. Raises
    `ModelError` if the model has no head or cannot run at this size.
    """
    execution = record_execution(model, image_size)
    heads = head_modules(model)
    atoms = atoms_of(model, execution)
    body = [atom for atom in atoms if not _is_below(atom.module, heads)]
    head = [atom for atom in atoms if _is_below(atom.module, heads)]
    groups, has_neck = ordered_groups(model, body, head, granularity, execution)
    blocks = _build_blocks(model, execution, [*groups, head], has_neck, granularity)
    _assert_partition(model, blocks)
    return blocks


def _is_below(module: str, ancestors: Iterable[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in ancestors)


def _build_blocks(
    model: nn.Module, execution: Execution, groups: list[Group], has_neck: bool, granularity: Granularity
) -> tuple[Block, ...]:
    owner = {name: i for i, group in enumerate(groups) for atom in group for name in (*atom.parameters, *atom.buffers)}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    buffers = [name for name, _ in model.named_buffers()]
    # The block is named after the prefix with its first layer; class tokens and norms come after it.
    ranks = [{name: (not atom.is_layer, atom.first) for atom in group for name in atom.parameters} for group in groups]
    prefixes = [
        tuple(sorted(own, key=lambda prefix: min(rank[name] for name in rank if _is_below(name, [prefix]))))
        for own, rank in zip(covering_prefixes({name: owner[name] for name in sizes}), ranks, strict=True)
    ]
    names = block_names(prefixes, has_neck, granularity)
    modules = _modules_of_blocks(model, execution, groups, prefixes)
    leaves = leaf_modules(model)
    return tuple(
        Block(
            name=name,
            modules=tuple(modules[i]),
            parameters=tuple(parameter for parameter in sizes if owner[parameter] == i),
            buffers=tuple(buffer for buffer in buffers if owner[buffer] == i),
            size=sum(size for parameter, size in sizes.items() if owner[parameter] == i),
            layers=sum(is_layer(leaves[module]) for module in modules[i]),
            prefixes=prefixes[i],
            is_head=i == len(groups) - 1,
        )
        for i, name in enumerate(names)
    )


def _modules_of_blocks(
    model: nn.Module, execution: Execution, groups: list[Group], prefixes: Sequence[Sequence[str]]
) -> list[list[str]]:
    """Leaf modules of each block in order of execution."""
    block = {atom.module: i for i, group in reversed(list(enumerate(groups))) for atom in group}
    stateless = [name for name in leaf_modules(model) if name not in block]
    inside = {name: i for name in stateless for i, own in enumerate(prefixes) if _is_below(name, own)}
    following = _owner_that_runs_next(execution, block, last=len(groups) - 1)
    before = 0
    position: dict[str, float] = {}
    for name in leaf_modules(model):
        if name not in block:
            block[name] = inside.get(name, following.get(name, before))
        before = block[name]
        position[name] = execution.first.get(name, max(position.values(), default=-1.0))
    modules: list[list[str]] = [[] for _ in groups]
    for name in sorted(block, key=position.__getitem__):
        modules[block[name]].append(name)
    return modules


def _owner_that_runs_next(execution: Execution, block: dict[str, int], last: int) -> dict[str, int]:
    """For each executed module, the block of the next module with tensors: dropout before the head is in the head."""
    following: dict[str, int] = {}
    upcoming = last
    for name in reversed(execution.order):
        upcoming = block.get(name, upcoming)
        following[name] = upcoming
    return following


def _assert_partition(model: nn.Module, blocks: Sequence[Block]) -> None:
    """Assert that every parameter, buffer and leaf module is in exactly one block."""
    expected = {
        "parameters": [name for name, _ in model.named_parameters()],
        "buffers": [name for name, _ in model.named_buffers()],
        "modules": list(leaf_modules(model)),
    }
    for kind, names in expected.items():
        assert sorted(names) == sorted(name for block in blocks for name in getattr(block, kind)), kind
    assert len({block.name for block in blocks}) == len(blocks), "block names repeat"
