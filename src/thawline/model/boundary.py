"""Cuts a network into a frozen prefix, whose outputs can be kept, and a trainable suffix, without rewriting it.

To run the suffix, every module of the prefix is replaced during the forward pass by a stub that returns either the kept
output or a placeholder of the right shape that takes no memory ("stub and inject"). Functional code before the boundary
runs on placeholders; everything after it runs as usual, under autograd. `model/cut.py` checks that this computes the
same function before a boundary is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from thawline.model.generator import generator_restored
from thawline.model.trace import Autocast, Call


class _ReachedError(Exception):
    """Stops the forward pass at the boundary."""


@dataclass
class Boundary:
    """A place at which a network is cut."""

    name: str
    """The module at which the suffix begins."""
    start: int
    """Position of its start: a later boundary has a longer prefix."""
    network: nn.Module
    stubs: Mapping[str, Call]
    """Modules that do not run in the suffix, by name."""
    behind: tuple[str, ...]
    """Modules that run only in the suffix."""
    autocast: Autocast
    kept: tuple[str, ...] = ()
    """Stubs whose outputs the suffix needs."""
    _layouts: tuple[tuple[int, ...], ...] = ()
    """Dimensions of each kept tensor in memory order, to restore channels_last."""

    @torch.no_grad()
    def prefix(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the prefix on `images` [B, 3, S, S]; returns what the suffix needs, contiguous tensors [B, ...].

        The prefix must be in eval mode. Nothing after the boundary runs, so the mode there does not matter.
        """
        outputs: dict[str, list[Tensor]] = {}
        with ExitStack() as hooks:
            hooks.callback(self.network.get_submodule(self.name).register_forward_pre_hook(_stop).remove)
            for name in self.kept:

                def keep(_: nn.Module, __: object, output: object, *, name: str = name) -> None:
                    outputs[name] = _growing(self.stubs[name], output)

                hooks.callback(self.network.get_submodule(name).register_forward_hook(keep).remove)
            # Functional code may draw random numbers that belong to the suffix, where they will be drawn again.
            hooks.enter_context(generator_restored(images.device))
            hooks.enter_context(self.autocast())
            try:
                self.network(images)
            except _ReachedError:
                tensors = [tensor for name in self.kept for tensor in outputs[name]]
                self._layouts = self._layouts or tuple(map(_layout, tensors))
                pairs = zip(tensors, self._layouts, strict=True)
                return tuple(_per_image(tensor.permute(layout), len(images)) for tensor, layout in pairs)
        raise RuntimeError(f"the forward pass never reached {self.name!r}")

    def suffix(self, kept: Sequence[Tensor], images: Tensor) -> Tensor:
        """Logits from the outputs of `prefix`, which may be overwritten; `images` [B, 3, S, S] may be blank."""
        pairs = zip(kept, self._layouts, strict=True)
        tensors = iter([_no_view(tensor.flatten(0, 1).permute(_inverse(layout))) for tensor, layout in pairs])
        outputs = {}
        for name, call in self.stubs.items():
            held = name in self.kept
            parts = [
                next(tensors) if held and not value.fixed else value.empty(images) for value in call.values if value
            ]
            outputs[name] = pytree.tree_unflatten(parts, call.structure)
        with _stubbed(self.network, outputs), self.autocast():
            logits: Tensor = self.network(images)
            return logits


@contextmanager
def _stubbed(network: nn.Module, outputs: Mapping[str, object]) -> Iterator[None]:
    """Within the context, modules return the given outputs instead of running."""
    with ExitStack() as patches:
        for name, output in outputs.items():
            module = network.get_submodule(name)
            patches.callback(_put_back, module, vars(module).get("forward"))
            vars(module)["forward"] = _Stub(output)
        yield


@dataclass(frozen=True)
class _Stub:
    """Replaces a module's forward method."""

    output: object

    def __call__(self, *_: object, **__: object) -> object:
        return self.output


def _put_back(module: nn.Module, forward: object) -> None:
    vars(module).pop("forward", None)
    if forward is not None and not isinstance(forward, _Stub):
        vars(module)["forward"] = forward


def remove_stubs(network: nn.Module) -> None:
    """Remove stubs that an interruption may have left behind."""
    for module in network.modules():
        if isinstance(vars(module).get("forward"), _Stub):
            del vars(module)["forward"]


def _stop(*_: object) -> None:
    raise _ReachedError


def _growing(call: Call, output: object) -> list[Tensor]:
    """Copies of the tensors with a batch dimension, because the network may change its outputs in place."""
    parts = zip(pytree.tree_leaves(output), call.values, strict=True)
    return [part.detach().clone() for part, value in parts if value and not value.fixed]


def bits_of(tensor: Tensor, images: int) -> Tensor:
    """Checksum of each image, `[images]` int64: the sum of its values reinterpreted as integers."""
    kind = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.itemsize]
    bits = tensor.detach().view(kind).unflatten(0, (images, len(tensor) // images))  # type: ignore[no-untyped-call]
    total: Tensor = bits.sum(dim=tuple(range(1, bits.ndim)), dtype=torch.int64)
    return total


def _per_image(tensor: Tensor, images: int) -> Tensor:
    """Reshape [images * m, ...] to contiguous [images, m, ...]."""
    return tensor.reshape(images, tensor.shape[0] // images, *tensor.shape[1:]).contiguous()


def _no_view(tensor: Tensor) -> Tensor:
    """The same memory as a tensor that is not a view: in-place changes of a view alter the layout of its gradient."""
    whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return whole.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())


def _layout(tensor: Tensor) -> tuple[int, ...]:
    """Dimensions in memory order, the batch first."""
    return (0, *sorted(range(1, tensor.ndim), key=tensor.stride, reverse=True))


def _inverse(layout: Sequence[int]) -> list[int]:
    return [layout.index(dimension) for dimension in range(len(layout))]
