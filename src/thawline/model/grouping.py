"""Arranges atoms in groups that run one after the other, each of which becomes a block.

timm's `group_matcher` says which parameters belong together (METHODS 5.1); this module decides the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from thawline.errors import ModelError
from thawline.model.atoms import Atom
from thawline.model.execution import Execution, leaf_modules
from thawline.model.timm_groups import group_ordinals
from thawline.plan import Granularity

Group = list[Atom]


def ordered_groups(
    model: nn.Module, body: Group, head: Group, granularity: Granularity, execution: Execution
) -> tuple[list[Group], bool]:
    """Groups of atoms in order of execution, without the head, and whether the last group is a neck.

    A neck holds the layers that timm puts in the same group as the classifier: VGG's fc1 and fc2, MobileNetV3's
    conv_head. Norms without layers join the block before.
    """
    if granularity == "layer":
        return _layers(body, execution), False
    ordinals = group_ordinals(model, [*body, *head], granularity)
    unmatched = ordinals[head[0].parameters[0]]
    divided = [part for atom in body for part in _divide(atom, ordinals)]
    regular = [
        [atom for atom in divided if atom.group == ordinal]
        for ordinal in sorted({atom.group for atom in divided} - {unmatched})
    ]
    leftover = _runs([atom for atom in divided if atom.group == unmatched], regular)
    groups = _merge_without_layers(_merge_interleaved([*regular, *leftover]))
    has_neck = len(groups) > 1 and all(atom.group == unmatched for atom in groups[-1])
    neck = [groups.pop()] if has_neck else []
    if granularity == "stage":
        groups = _merge_single_layers(groups, _pool_positions(model, execution))
    return [*groups, *neck], has_neck


def _divide(atom: Atom, ordinals: Mapping[str, float]) -> Group:
    """Split a module's tensors by group (a root may own both a class token and the scale of the last norm)."""
    names = [*atom.parameters, *atom.buffers]
    parts = []
    for ordinal in sorted({ordinals[name] for name in names}):
        parameters = tuple(name for name in atom.parameters if ordinals[name] == ordinal)
        buffers = tuple(name for name in atom.buffers if ordinals[name] == ordinal)
        parts.append(replace(atom, parameters=parameters, buffers=buffers, group=ordinal))
    return parts


def _span(group: Group) -> tuple[float, float]:
    """First and last position at which the group runs; containers count only if the group has nothing else."""
    inner = [atom for atom in group if not atom.is_container] or group
    return min(atom.first for atom in inner), max(atom.last for atom in inner)


def _runs(leftover: Group, regular: list[Group]) -> list[Group]:
    """Divide the atoms that timm left unmatched wherever a matched group starts in between."""
    starts = [_span(group)[0] for group in regular]
    runs: dict[int, Group] = {}
    for atom in leftover:
        runs.setdefault(sum(start <= atom.first for start in starts), []).append(atom)
    return list(runs.values())


def _merge_interleaved(groups: list[Group]) -> list[Group]:
    """Sort by execution and merge groups whose spans overlap, so that the network can be cut between blocks."""
    merged: list[Group] = []
    for group in sorted(groups, key=_span):
        if merged and _span(group)[0] <= _span(merged[-1])[1]:
            merged[-1] = merged[-1] + group
        else:
            merged.append(group)
    return merged


def _merge_without_layers(groups: list[Group]) -> list[Group]:
    """Merge groups without layers (norms, scales, embeddings) into the group before; the first into the group after."""
    merged: list[Group] = []
    for group in groups:
        if merged and not (_layer_count(group) and _layer_count(merged[-1])):
            merged[-1] = merged[-1] + group
        else:
            merged.append(group)
    return merged


def _layer_count(group: Group) -> int:
    return sum(atom.is_layer for atom in group)


def _merge_single_layers(groups: list[Group], pools: Sequence[int]) -> list[Group]:
    """Merge neighboring groups of one layer each into a stage, unless a pooling layer runs between them (VGG)."""
    merged: list[Group] = []
    previous_single = False
    for group in groups:
        single = _layer_count(group) == 1
        if single and previous_single and not any(_span(merged[-1])[1] < pool < _span(group)[0] for pool in pools):
            merged[-1] = merged[-1] + group
        else:
            merged.append(group)
        previous_single = single
    return merged


def _pool_positions(model: nn.Module, execution: Execution) -> list[int]:
    pools = [name for name, module in leaf_modules(model).items() if "pool" in type(module).__name__.lower()]
    return [execution.first[name] for name in pools if name in execution.first]


def _layers(body: Group, execution: Execution) -> list[Group]:
    """One group per convolution or linear layer, with the norms and scales that belong to it."""
    ordered = sorted(body, key=lambda atom: atom.first)
    layers = [[atom] for atom in ordered if atom.is_layer]
    if not layers:
        raise ModelError("the network has no convolution or linear layer before its head; use `granularity='stage'`.")
    for atom in ordered:
        if not atom.is_layer:
            layers[_layer_of(atom, layers, execution)].append(atom)
    return _merge_interleaved(layers)


def _layer_of(atom: Atom, layers: list[Group], execution: Execution) -> int:
    """Index of the layer that a norm or scale belongs to: of the two neighbors, the one with the longer common path.

    If equal, the layer before if its output is the norm's input (conv, norm), else the layer after (norm, linear: a
    transformer).
    """
    after = sum(group[0].first <= atom.first for group in layers)
    if after == 0 or after == len(layers):
        return min(after, len(layers) - 1)
    before = after - 1
    name_before, name_after = layers[before][0].module, layers[after][0].module
    shared_before, shared_after = _common(atom.module, name_before), _common(atom.module, name_after)
    if shared_before == shared_after:
        return before if execution.follows.get(atom.module) == name_before else after
    return before if shared_before > shared_after else after


def _common(name: str, other: str) -> int:
    """Number of leading path components that two names share."""
    pairs = list(zip(name.split("."), other.split("."), strict=False))
    return next((i for i, (left, right) in enumerate(pairs) if left != right), len(pairs))
