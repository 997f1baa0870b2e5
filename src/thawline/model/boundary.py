"""Cut a network in two without rewriting it: a frozen prefix, whose outputs can be kept, and the suffix that trains.

The live network is used as it is. To run the suffix, every module of the prefix is replaced for one forward pass by a
stub, which returns either what was kept or a placeholder of the right shape that costs nothing ("stub and inject").
Functional glue before the boundary runs on placeholders, everything after it as usual, under autograd. Whether that is
the same function is not argued but checked before a boundary is used: `model/cut.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from thawline.model.trace import Autocast, Call


class _ReachedError(Exception):
    """The forward pass has come to the boundary; nothing behind it may run."""


@dataclass
class Boundary:
    """One place at which a network is cut."""

    name: str
    """The module with which the suffix begins."""
    start: int
    """When it starts: a later boundary has a longer prefix."""
    network: nn.Module
    stubs: Mapping[str, Call]
    """Modules that do not run in the suffix, by name."""
    behind: tuple[str, ...]
    """Modules that run in the suffix only."""
    autocast: Autocast
    kept: tuple[str, ...] = ()
    """Stubs whose outputs the suffix needs."""
    _layouts: tuple[tuple[int, ...], ...] = ()
    """Dimensions of each kept tensor in the order of its memory: channels_last must come back as such."""

    @torch.no_grad()
    def prefix(self, images: Tensor) -> tuple[Tensor, ...]:
        """What the suffix needs of `images` [B, 3, S, S]: contiguous tensors [B, ...].

        Nothing behind the boundary runs, so train mode there is left alone. The prefix itself must be in eval mode.
        """
        outputs: dict[str, list[Tensor]] = {}
        with ExitStack() as hooks:
            hooks.callback(self.network.get_submodule(self.name).register_forward_pre_hook(_stop).remove)
            for name in self.kept:

                def keep(*call: Any, name: str = name) -> None:
                    outputs[name] = _growing(self.stubs[name], call[-1])

                hooks.callback(self.network.get_submodule(name).register_forward_hook(keep).remove)
            # Glue may draw random numbers that belong to the suffix, where it will draw them again.
            hooks.enter_context(torch.random.fork_rng([images.device] if images.is_cuda else []))
            hooks.enter_context(self.autocast())
            try:
                self.network(images)
            except _ReachedError:
                tensors = [tensor for name in self.kept for tensor in outputs[name]]
                self._layouts = self._layouts or tuple(map(_layout, tensors))
                pairs = zip(tensors, self._layouts, strict=True)
                return tuple(_per_image(one.permute(layout), len(images)) for one, layout in pairs)
        raise RuntimeError(f"the network never came to {self.name!r}")

    def suffix(self, kept: Sequence[Tensor], images: Tensor) -> Tensor:
        """The network's output from what `prefix` returned, and may change; `images` [B, 3, S, S] may be blank."""
        pairs = zip(kept, self._layouts, strict=True)
        tensors = iter([_no_view(one.flatten(0, 1).permute(_inverse(layout))) for one, layout in pairs])
        outputs = {}
        for name, call in self.stubs.items():
            held = name in self.kept
            parts = [next(tensors) if held and not one.fixed else one.empty(images) for one in call.values if one]
            outputs[name] = pytree.tree_unflatten(parts, call.structure)
        with _stubbed(self.network, outputs), self.autocast():
            logits: Tensor = self.network(images)
            return logits


@contextmanager
def _stubbed(network: nn.Module, outputs: Mapping[str, object]) -> Iterator[None]:
    """Let modules return the given outputs instead of computing theirs."""
    with ExitStack() as patches:
        for name, output in outputs.items():
            module = network.get_submodule(name)
            patches.callback(_put_back, module, vars(module).get("forward"))
            vars(module)["forward"] = _Stub(output)
        yield


@dataclass(frozen=True)
class _Stub:
    """Stands in for a module's forward method."""

    output: object

    def __call__(self, *_: object, **__: object) -> object:
        return self.output


def _put_back(module: nn.Module, forward: object) -> None:
    vars(module).pop("forward", None)
    if forward is not None and not isinstance(forward, _Stub):
        vars(module)["forward"] = forward


def remove_stubs(network: nn.Module) -> None:
    """Take away what an interruption at the worst moment may have left."""
    for module in network.modules():
        if isinstance(vars(module).get("forward"), _Stub):
            del vars(module)["forward"]


def _stop(*_: object) -> None:
    raise _ReachedError


def _growing(call: Call, output: object) -> list[Tensor]:
    """Copies of the tensors that grow with the images: a network may go on to change an output in place."""
    parts = zip(pytree.tree_leaves(output), call.values, strict=True)
    return [part.detach().clone() for part, value in parts if value and not value.fixed]


def bits_of(tensor: Tensor, images: int) -> Tensor:
    """`[images]` int64: for each image, the sum of its bits read as integers."""
    kind = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.itemsize]
    bits = tensor.detach().view(kind).unflatten(0, (images, len(tensor) // images))  # type: ignore[no-untyped-call]
    total: Tensor = bits.sum(dim=tuple(range(1, bits.ndim)), dtype=torch.int64)
    return total


def _per_image(tensor: Tensor, images: int) -> Tensor:
    """[images * m, ...] -> contiguous [images, m, ...]."""
    return tensor.reshape(images, tensor.shape[0] // images, *tensor.shape[1:]).contiguous()


def _no_view(tensor: Tensor) -> Tensor:
    """The same memory, no longer a view: gradients of a view that is changed in place come in another layout."""
    whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return whole.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())


def _layout(tensor: Tensor) -> tuple[int, ...]:
    """Dimensions in the order of the tensor's memory, the images first."""
    return (0, *sorted(range(1, tensor.ndim), key=tensor.stride, reverse=True))


def _inverse(layout: Sequence[int]) -> list[int]:
    return [layout.index(dimension) for dimension in range(len(layout))]
