"""Cut a network in two without rewriting it: a frozen prefix, whose outputs can be kept, and the suffix that trains.

The live network is used as it is. To run the suffix, every module of the prefix is replaced for one forward pass by a
stub, which returns either what was kept or a placeholder of the right shape that costs nothing ("stub and inject").
Functional glue before the boundary runs on placeholders, everything after it as usual, under autograd. Whether that is
the same function is not argued but checked, bit for bit, before a boundary is used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from thawline.model.execution import is_layer

Autocast = Callable[[], AbstractContextManager[object]]
"""Makes the context in which the network computes: its precision."""

TOLERANCE = 1e-5
"""Largest difference of logits, absolute and relative, where rounding depends on the place in the batch."""

_FAULTS = (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError, AssertionError)
"""What a network may raise when its glue meets a placeholder; the boundary is then not used."""

_ALIKE = (
    "torch.nn.modules.activation",
    "torch.nn.modules.flatten",
    "torch.nn.modules.linear",
    "torch.nn.modules.pooling",
    "timm.layers.activations",
    "timm.layers.adaptive_avgmax_pool",
)
"""Where modules live that do the same in train mode as in eval mode, but for their parameters if they have any."""


class _ReachedError(Exception):
    """The forward pass has come to the boundary; nothing behind it may run."""


@dataclass(frozen=True)
class _Value:
    """One part of a module's output, for any number of images."""

    shape: tuple[int, ...] = ()
    """Of a tensor for one image: its first dimension grows with the number of images."""
    dtype: torch.dtype = torch.float32
    fixed: bool = False
    """Whether it is always the same, such as position tables."""
    constant: object = None
    """What it always is, if it is."""

    def empty(self, images: Tensor) -> object:
        """All zeros in the memory of one number, for as many images as `images` [B, 3, S, S]; or what it always is."""
        if self.fixed:
            return self.constant
        zero = torch.zeros((), dtype=self.dtype, device=images.device)
        return zero.expand(len(images) * self.shape[0], *self.shape[1:])


@dataclass
class _Call:
    """What a forward pass showed about a module."""

    start: int
    end: int = -1
    times: int = 1
    values: tuple[_Value | None, ...] = ()
    """None for a tensor that does not grow with the number of images as it should."""
    structure: Any = None

    @property
    def replaceable(self) -> bool:
        """Whether a stub can return something like its output."""
        return self.end >= 0 and self.times == 1 and None not in self.values


@dataclass
class Trace:
    """When each module of a network starts and ends, and what it returns: enough to cut it anywhere."""

    network: nn.Module
    calls: dict[str, _Call] = field(default_factory=dict)

    @classmethod
    @torch.no_grad()
    def record(cls, network: nn.Module, images: Tensor, autocast: Autocast) -> Trace:
        """Watch a network in eval mode on the first two, then on the first three of `images` [B >= 3, 3, S, S]."""
        shapes: dict[str, list[tuple[int, ...]]] = {}

        def note_shapes(name: str, output: object) -> None:
            shapes[name] = _shapes(output)

        with _watched(network, lambda _: None, note_shapes), autocast():
            network(images[:2])
        trace, clock = cls(network), count()

        def enter(name: str) -> None:
            time = next(clock)
            trace.calls[name] = _Call(time) if name not in trace.calls else _again(trace.calls[name])

        def leave(name: str, output: object) -> None:
            call = trace.calls[name]
            parts, call.structure = pytree.tree_flatten(output)
            call.end = next(clock)
            call.values = tuple(_value(part, shape) for part, shape in zip(parts, shapes.get(name, ()), strict=False))

        with _watched(network, enter, leave), autocast():
            network(images[:3])
        return trace

    def first(self, modules: Collection[str]) -> str | None:
        """The module of `modules` that starts first, of those that training makes different; None if none runs."""
        running = [name for name in modules if name in self.calls and _trains(self.network.get_submodule(name))]
        return min(running, key=lambda name: self.calls[name].start, default=None)

    def stubs(self, boundary: str) -> list[str]:
        """The largest modules that are over, for good, when `boundary` starts; by their end."""
        start = self.calls[boundary].start
        over = {name for name, call in self.calls.items() if call.replaceable and call.end < start}
        largest = (name for name in over if not any(parent in over for parent in _parents(name)))
        return sorted(largest, key=lambda name: self.calls[name].end)


@dataclass(frozen=True)
class Proof:
    """Images that a cut must not change anything for."""

    images: Tensor
    """[B, 3, S, S]."""
    expected: Tensor
    """[B, classes]: what the whole network in eval mode makes of them in reversed order."""

    @classmethod
    @torch.no_grad()
    def of(cls, network: nn.Module, images: Tensor, autocast: Autocast) -> Proof:
        """Run the network on `images` [B, 3, S, S]."""
        with autocast():
            return cls(images, network(images.flip(0)))

    def few(self, network: nn.Module, autocast: Autocast) -> Proof:
        """The same with three images."""
        return Proof.of(network, self.images[:3], autocast)

    @torch.no_grad()
    def repeats(self, network: nn.Module, autocast: Autocast) -> bool:
        """Whether the network makes the same of the images, bit for bit, in their own order.

        If not, rounding depends on the place in the batch, and no cut can be exact.
        """
        with autocast():
            return torch.equal(network(self.images).flip(0), self.expected)


@dataclass
class Boundary:
    """One place at which a network is cut."""

    name: str
    """The module with which the suffix begins."""
    start: int
    """When it starts: a later boundary has a longer prefix."""
    network: nn.Module
    stubs: Mapping[str, _Call]
    """Modules that do not run in the suffix, by name."""
    autocast: Autocast
    exact: bool = True
    """Whether prefix and suffix were found equal to the whole network bit for bit; else within `TOLERANCE`."""
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
        handles = [self.network.get_submodule(self.name).register_forward_pre_hook(_stop)]
        for name in self.kept:

            def keep(*call: Any, name: str = name) -> None:
                outputs[name] = _growing(self.stubs[name], call[-1])

            handles.append(self.network.get_submodule(name).register_forward_hook(keep))
        try:
            with self.autocast():
                self.network(images)
        except _ReachedError:
            tensors = [tensor for name in self.kept for tensor in outputs[name]]
            self._layouts = self._layouts or tuple(map(_layout, tensors))
            pairs = zip(tensors, self._layouts, strict=True)
            return tuple(_per_image(one.permute(layout), len(images)) for one, layout in pairs)
        finally:
            for handle in handles:
                handle.remove()
        raise RuntimeError(f"the network never came to {self.name!r}")

    @torch.no_grad()
    def fingerprints(self, images: Tensor, part: slice) -> tuple[tuple[Tensor, ...], Tensor]:
        """`prefix`, and [layers, part of B] int64: for every layer of it, a sum over the bits of an image's output.

        Rounding that differs between two batches differs in some layer, though the few numbers at the end may agree.
        """
        found: list[Tensor] = []

        def note(*call: Any) -> None:
            tensors = (one for one in pytree.tree_leaves(call[-1]) if isinstance(one, Tensor) and one.ndim)
            found.extend(_bits(one, len(images), part) for one in tensors if len(one) % len(images) == 0)

        modules = [module for name in self.stubs for module in self.network.get_submodule(name).modules()]
        handles = [module.register_forward_hook(note) for module in modules if is_layer(module)]
        try:
            outputs = self.prefix(images)
        finally:
            for handle in handles:
                handle.remove()
        return outputs, torch.stack([*found, *(_bits(tensor, len(images), part) for tensor in outputs)])

    def suffix(self, kept: Sequence[Tensor], images: Tensor) -> Tensor:
        """The network's output from what `prefix` returned; `images` [B, 3, S, S] need no content."""
        pairs = zip(kept, self._layouts, strict=True)
        tensors = iter([one.flatten(0, 1).permute(_inverse(layout)) for one, layout in pairs])
        outputs = {}
        for name, call in self.stubs.items():
            held = name in self.kept
            parts = [next(tensors) if held and not one.fixed else one.empty(images) for one in call.values if one]
            outputs[name] = pytree.tree_unflatten(parts, call.structure)
        with _stubbed(self.network, outputs), self.autocast():
            logits: Tensor = self.network(images)
            return logits

    @torch.no_grad()
    def agrees(self, proof: Proof, tolerance: float = 0.0) -> bool:
        """Whether the suffix makes of reversed prefix outputs what the whole network makes of reversed images."""
        self._layouts = ()
        try:
            blank = torch.zeros((), dtype=proof.images.dtype, device=proof.images.device).expand_as(proof.images)
            found = self.suffix([tensor.flip(0) for tensor in self.prefix(proof.images)], blank)
        except _FAULTS:
            return False
        if not isinstance(found, Tensor) or found.shape != proof.expected.shape:
            return False
        if tolerance == 0:
            return torch.equal(found, proof.expected)
        return torch.allclose(found, proof.expected, rtol=tolerance, atol=tolerance)


def cut(trace: Trace, boundary: str, proof: Proof, autocast: Autocast) -> Boundary | None:
    """Cut a network in eval mode before the module `boundary`; None where that cannot be done.

    First the last output before the boundary is kept alone, then the one before it too, and so on, until the network
    computes the same as ever: nearly so on a few images, which is quick, then exactly on all of them.
    """
    names = trace.stubs(boundary)
    found = Boundary(
        boundary, trace.calls[boundary].start, trace.network, {name: trace.calls[name] for name in names}, autocast
    )
    few = proof.few(trace.network, autocast)
    nearly: tuple[str, ...] | None = None
    for number in range(1, len(names) + 1):
        found.kept = tuple(names[-number:])
        if found.agrees(few, TOLERANCE):
            found.kept = _least(found, few)
            if found.agrees(proof):
                return found
            nearly = nearly or found.kept
    if nearly is None or proof.repeats(trace.network, autocast):
        return None
    found.kept, found.exact = nearly, False
    return found if found.agrees(proof, TOLERANCE) else None


def _least(boundary: Boundary, proof: Proof) -> tuple[str, ...]:
    """The kept outputs that the suffix needs after all."""
    for name in boundary.kept[1:]:
        before = boundary.kept
        boundary.kept = tuple(other for other in before if other != name)
        if not boundary.agrees(proof, TOLERANCE):
            boundary.kept = before
    return boundary.kept


@contextmanager
def _watched(network: nn.Module, enter: Callable[[str], None], leave: Callable[[str, object], None]) -> Iterator[None]:
    """Call `enter` and `leave` whenever a module below the root does."""
    handles = []
    for name, module in network.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: enter(name)))
            handles.append(module.register_forward_hook(lambda *call, name=name: leave(name, call[-1])))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _stubbed(network: nn.Module, outputs: Mapping[str, object]) -> Iterator[None]:
    """Let modules return the given outputs instead of computing theirs."""
    modules = {name: network.get_submodule(name) for name in outputs}
    own = {name: vars(module).get("forward") for name, module in modules.items()}
    try:
        for name, output in outputs.items():
            vars(modules[name])["forward"] = _returning(output)
        yield
    finally:
        for name, module in modules.items():
            vars(module).pop("forward", None)
            if own[name] is not None:
                vars(module)["forward"] = own[name]


def _trains(module: nn.Module) -> bool:
    """Whether training makes a difference to a module: it has parameters or buffers, or train mode changes it."""
    alike = type(module).__module__.startswith(_ALIKE) and not isinstance(module, nn.RReLU)
    return not alike or next(module.parameters(), None) is not None


def _returning(output: object) -> Callable[..., object]:
    return lambda *_, **__: output


def _stop(*_: object) -> None:
    raise _ReachedError


def _again(call: _Call) -> _Call:
    call.times += 1
    return call


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _shapes(output: object) -> list[tuple[int, ...]]:
    return [tuple(part.shape) if isinstance(part, Tensor) else () for part in pytree.tree_leaves(output)]


def _value(part: object, with_two: tuple[int, ...]) -> _Value | None:
    """What part of an output is for any number of images, from the part for three and its shape for two."""
    if not isinstance(part, Tensor):
        return _Value(fixed=True, constant=part)
    shape = tuple(part.shape)
    if shape == with_two:
        return _Value(fixed=True, constant=part.detach().clone())
    per_image = shape[0] // 3
    grows = shape[1:] == with_two[1:] and (with_two[0], shape[0]) == (2 * per_image, 3 * per_image)
    return _Value((per_image, *shape[1:]), part.dtype) if grows else None


def _growing(call: _Call, output: object) -> list[Tensor]:
    """Copies of the tensors that grow with the images: a network may go on to change an output in place."""
    parts = zip(pytree.tree_leaves(output), call.values, strict=True)
    return [part.detach().clone() for part, value in parts if value and not value.fixed]


def _bits(tensor: Tensor, images: int, part: slice) -> Tensor:
    """The sum of the bits of the images of `part`, read as whole numbers: int64."""
    kind = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.itemsize]
    bits = tensor.detach().view(kind).unflatten(0, (images, len(tensor) // images))[part]  # type: ignore[no-untyped-call]
    total: Tensor = bits.sum(dim=tuple(range(1, bits.ndim)), dtype=torch.int64)
    return total


def _per_image(tensor: Tensor, images: int) -> Tensor:
    """[images * m, ...] -> contiguous [images, m, ...]."""
    return tensor.reshape(images, tensor.shape[0] // images, *tensor.shape[1:]).contiguous()


def _layout(tensor: Tensor) -> tuple[int, ...]:
    """Dimensions in the order of the tensor's memory, the images first."""
    return (0, *sorted(range(1, tensor.ndim), key=tensor.stride, reverse=True))


def _inverse(layout: Sequence[int]) -> list[int]:
    return [layout.index(dimension) for dimension in range(len(layout))]
