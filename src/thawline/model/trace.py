"""Records when each module of a network starts and ends and what it returns, so that the network can be cut."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from thawline.model.execution import owns_tensors

Autocast = Callable[[], AbstractContextManager[object]]
"""Returns the autocast context in which the network runs."""

FAULTS = (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError, AssertionError)
"""What a network may raise when its modules are not what its functional code expects; it then runs as it is."""

_ALIKE = (
    "torch.nn.modules.activation",
    "torch.nn.modules.flatten",
    "torch.nn.modules.linear",
    "torch.nn.modules.pooling",
    "timm.layers.activations",
    "timm.layers.adaptive_avgmax_pool",
)
"""Packages of modules that behave the same in train and eval mode, apart from their parameters."""


@dataclass(frozen=True)
class Value:
    """A part of a module's output, for any number of images."""

    shape: tuple[int, ...] = ()
    """Shape for one image; the first dimension is proportional to the number of images."""
    dtype: torch.dtype = torch.float32
    fixed: bool = False
    """Whether it is constant, such as position tables."""
    constant: object = None
    """Its value, if it is constant."""

    def empty(self, images: Tensor) -> object:
        """Zeros that take no memory, for as many images as `images` [B, 3, S, S]; or the constant."""
        if self.fixed:
            return self.constant
        zero = torch.zeros((), dtype=self.dtype, device=images.device)
        return zero.expand(images.shape[0] * self.shape[0], *self.shape[1:])


@dataclass
class Call:
    """Record of a module in a forward pass."""

    start: int
    end: int = -1
    times: int = 1
    values: tuple[Value | None, ...] = ()
    """None for a tensor whose size is not proportional to the number of images."""
    structure: pytree.TreeSpec = field(default_factory=lambda: pytree.tree_structure(None))

    @property
    def replaceable(self) -> bool:
        """Whether a stub can imitate its output."""
        return self.end >= 0 and self.times == 1 and None not in self.values


@dataclass
class Trace:
    """When each module of a network starts and ends, and what it returns."""

    network: nn.Module
    calls: dict[str, Call] = field(default_factory=dict)

    @classmethod
    @torch.no_grad()
    def record(cls, network: nn.Module, images: Tensor, autocast: Autocast) -> Trace:
        """Run a network in eval mode on the first two, then the first three of `images` [B >= 3, 3, S, S]."""
        shapes: dict[str, list[tuple[int, ...]]] = {}

        def note_shapes(name: str, output: object) -> None:
            shapes[name] = _shapes(output)

        with watched(network, lambda _: None, note_shapes), autocast():
            network(images[:2])
        trace, clock = cls(network), count()

        def enter(name: str) -> None:
            time = next(clock)
            trace.calls[name] = Call(time) if name not in trace.calls else _again(trace.calls[name])

        def leave(name: str, output: object) -> None:
            call = trace.calls[name]
            parts, call.structure = pytree.tree_flatten(output)
            call.end = next(clock)
            call.values = tuple(_value(part, shape) for part, shape in zip(parts, shapes.get(name, ()), strict=False))

        with watched(network, enter, leave), autocast():
            network(images[:3])
        return trace

    def first(self, modules: Collection[str]) -> str | None:
        """The first of `modules` to start, among those that training changes.

        None if none of them runs, or if one with parameters never runs, since its parameters may be used at any time.
        """
        if any(name not in self.calls and owns_tensors(self.network.get_submodule(name)) for name in modules):
            return None
        running = [name for name in modules if name in self.calls and _trains(self.network.get_submodule(name))]
        return min(running, key=lambda name: self.calls[name].start, default=None)

    def stubs(self, boundary: str) -> list[str]:
        """The outermost modules that have finished when `boundary` starts, sorted by their end."""
        start = self.calls[boundary].start
        over = {name for name, call in self.calls.items() if call.replaceable and call.end < start}
        largest = (name for name in over if not any(parent in over for parent in parents_of(name)))
        return sorted(largest, key=lambda name: self.calls[name].end)


@contextmanager
def watched(network: nn.Module, enter: Callable[[str], None], leave: Callable[[str, object], None]) -> Iterator[None]:
    """Call `enter` and `leave` at the start and end of every module but the root."""
    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if name:
                hooks.callback(module.register_forward_pre_hook(lambda *_, name=name: enter(name)).remove)
                hooks.callback(module.register_forward_hook(lambda *call, name=name: leave(name, call[-1])).remove)
        yield


def _trains(module: nn.Module) -> bool:
    """Whether training changes a module: it has parameters or buffers, or depends on the mode."""
    alike = type(module).__module__.startswith(_ALIKE) and not isinstance(module, nn.RReLU)
    return not alike or next(module.parameters(), None) is not None


def _again(call: Call) -> Call:
    call.times += 1
    return call


def parents_of(name: str) -> Iterator[str]:
    """Names of the modules that contain a module, without the root."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _shapes(output: object) -> list[tuple[int, ...]]:
    return [tuple(part.shape) if isinstance(part, Tensor) else () for part in pytree.tree_leaves(output)]


def _value(part: object, with_two: tuple[int, ...]) -> Value | None:
    """Describe a part of an output for any number of images, from its value for three and its shape for two."""
    if not isinstance(part, Tensor):
        return Value(fixed=True, constant=part)
    shape = tuple(part.shape)
    if shape == with_two:
        return Value(fixed=True, constant=part.detach().clone())
    per_image = shape[0] // 3
    grows = shape[1:] == with_two[1:] and (with_two[0], shape[0]) == (2 * per_image, 3 * per_image)
    return Value((per_image, *shape[1:]), part.dtype) if grows else None
