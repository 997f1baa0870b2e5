"""Features of images at the end of every block and before the head, averaged over positions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from thawline.explanation.drift import Features
from thawline.explanation.maps import Layouts
from thawline.model.execution import leaf_modules
from thawline.plan import Block

Note = Callable[[str, tuple[object, ...], object], None]
"""Called with a module's name, its arguments and its output."""


@torch.inference_mode()
def block_ends(network: nn.Module, blocks: Sequence[Block], images: Tensor) -> dict[str, str]:
    """Block -> the module with whose output it ends, from a pass of `images` [B >= 2, 3, S, S].

    The head is left out, having no pretrained counterpart, and so is a block none of whose modules returns a tensor.
    """
    block_of = _modules_in_one_block(network, blocks)
    ends: dict[str, str] = {}

    def note(name: str, _: tuple[object, ...], output: object) -> None:
        if isinstance(output, Tensor) and output.ndim > 1 and len(output) == len(images):
            ends[block_of[name]] = name

    with _watched(network, block_of, note):
        network(images)
    return {block.name: ends[block.name] for block in blocks if block.name in ends and not block.is_head}


@torch.inference_mode()
def pooled_features(network: nn.Module, ends: Mapping[str, str], batches: Iterable[Tensor]) -> dict[str, Features]:
    """Block -> [n, F] at the block's end for all images of `batches` of [B, 3, S, S], in their order."""
    layouts = Layouts(network)
    last: dict[str, Features] = {}

    def note(name: str, _: tuple[object, ...], output: object) -> None:
        if isinstance(output, Tensor):  # if a module runs several times, the last output counts
            last[name] = layouts.pooled(output).float().numpy()

    found: dict[str, list[Features]] = {block: [] for block in ends}
    with _watched(network, list(ends.values()), note):
        for images in batches:
            network(images)
            for block, module in ends.items():
                found[block].append(last[module])
    return {block: np.concatenate(parts) for block, parts in found.items()}


@torch.inference_mode()
def inputs_of(network: nn.Module, module: str, batches: Iterable[Tensor]) -> Features | None:
    """[n, F]: the input of `module` for all images of `batches`; None if it is not one row of features per image."""
    found: list[Features] = []

    def note(_: str, arguments: tuple[object, ...], __: object) -> None:
        found.extend(rows.float().numpy() for rows in arguments[:1] if isinstance(rows, Tensor) and rows.ndim == 2)

    total = 0
    with _watched(network, [module], note):
        for images in batches:
            network(images)
            total += len(images)
    return np.concatenate(found) if found and sum(map(len, found)) == total else None


def _modules_in_one_block(network: nn.Module, blocks: Sequence[Block]) -> dict[str, str]:
    """Module -> block, for modules whose leaves are all in the same block."""
    owner = {leaf: block.name for block in blocks for leaf in block.modules}
    leaves = leaf_modules(network)
    found = {}
    for name, module in network.named_modules():
        below = (f"{name}.{inner}".rstrip(".") for inner, _ in module.named_modules())
        own = {owner[leaf] for leaf in below if leaf in leaves}
        if name and len(own) == 1:
            found[name] = own.pop()
    return found


@contextmanager
def _watched(network: nn.Module, names: Collection[str], note: Note) -> Iterator[None]:
    handles = []
    for name in names:

        def tell(_: nn.Module, arguments: tuple[object, ...], output: object, name: str = name) -> None:
            note(name, arguments, output)

        handles.append(network.get_submodule(name).register_forward_hook(tell))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
