"""Names of blocks: the dotted prefixes that cover a block's parameters, and a short display name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thawline.model.atoms import join
from thawline.plan import Granularity


def covering_prefixes(owner: Mapping[str, int]) -> list[tuple[str, ...]]:
    """For each block, the fewest dotted prefixes that together match exactly its parameters.

    `owner` maps tensor names, in order of definition, to block numbers 0, 1, ...; prefixes are never nested.
    """
    tree: dict[str, object] = {}
    for name, block in owner.items():
        *path, last = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})  # type: ignore[assignment]
        node[last] = block
    prefixes: list[list[str]] = [[] for _ in range(max(owner.values(), default=-1) + 1)]
    for part, child in tree.items():
        _collect(part, child, prefixes)
    return [tuple(names) for names in prefixes]


def _collect(path: str, node: object, prefixes: list[list[str]]) -> None:
    blocks = _blocks_below(node)
    if len(blocks) == 1:
        prefixes[blocks.pop()].append(path)
    elif isinstance(node, dict):
        for part, child in node.items():
            _collect(join(path, part), child, prefixes)


def _blocks_below(node: object) -> set[int]:
    if isinstance(node, dict):
        return set().union(*(_blocks_below(child) for child in node.values()))
    assert isinstance(node, int)
    return {node}


def block_names(prefixes: Sequence[Sequence[str]], has_neck: bool, granularity: Granularity) -> list[str]:
    """A unique name for each block, the head last: stem, neck, head, or its first prefix.

    A block's first prefix is that of its first layer. A neck that continues a numbered series keeps its path
    (`blocks.31`), and so do all blocks at granularity `layer`.
    """
    names = [own[0] for own in prefixes]
    roles = {len(names) - 1: "head"}
    if granularity != "layer" and len(names) > 1 and _is_stem(prefixes[0]):
        roles[0] = "stem"
    if has_neck and not _is_numbered(names[-2]):
        roles[len(names) - 2] = "neck"
    taken = set(roles.values())
    return [roles.get(i, f"pre_{name}" if name in taken else name) for i, name in enumerate(names)]


def _is_stem(prefixes: Sequence[str]) -> bool:
    """Whether the first block is a stem rather than the first of a numbered series (`features.0`, `stages.0`)."""
    return prefixes[0].split(".")[0] == "stem" or not any(_is_numbered(prefix) for prefix in prefixes)


def _is_numbered(prefix: str) -> bool:
    return any(part.isdigit() for part in prefix.split("."))
