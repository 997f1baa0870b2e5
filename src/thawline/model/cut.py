"""Find out what must be kept to cut a network at a boundary, and prove that the cut changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from thawline.model.apply import requiring_gradients
from thawline.model.boundary import Boundary, bits_of
from thawline.model.trace import Autocast, Trace

TOLERANCE = 1e-5
"""Largest difference, absolute and relative, where rounding depends on the place in the batch."""

_ROUGHLY = 1e-2
"""The same where only the structure is in question: few images, any precision."""

_FAULTS = (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError, AssertionError)
"""What a network may raise when its glue meets a placeholder; the boundary is then not used."""


def cut(trace: Trace, name: str, images: Tensor, autocast: Autocast, *, gradients: bool) -> Boundary | None:
    """Cut a network in eval mode before the module `name`; None where that cannot be done.

    First the last output before the boundary is kept alone, then the one before it too, and so on, until the network
    computes the same of `images` [B, 3, S, S] as ever: nearly so for a few of them, which is quick, then exactly for
    all; `gradients` too, where they can be expected to repeat. Where rounding depends on an image's place in the batch
    no cut can be exact; nearly so must do then.
    """
    start = trace.calls[name].start
    stubs = {stub: trace.calls[stub] for stub in trace.stubs(name)}
    behind = tuple(other for other, call in trace.calls.items() if call.start >= start)
    bare = Boundary(name, start, trace.network, stubs, behind, autocast)
    few, proof = _Proof.of(bare, images[:3], exact=False), _Proof.of(bare, images, exact=True)
    nearly: Boundary | None = None
    for number in range(1, len(stubs) + 1):
        found = replace(bare, kept=tuple(stubs)[-number:])
        if few.holds(found, _ROUGHLY):
            found = _least(found, few)
            if proof.holds(found) and not (gradients and _gradients_differ(found, images)):
                return found
            nearly = nearly or found
    if nearly is None or _repeats(bare, proof):
        return None
    return nearly if _Proof.of(bare, images, exact=False).holds(nearly, TOLERANCE) else None


@dataclass(frozen=True)
class _Proof:
    """What the whole network in eval mode makes of some images in reversed order: a cut must not change it."""

    images: Tensor
    """[B, 3, S, S], in their own order."""
    exact: bool
    """Whether the marks speak for every bit."""
    marks: tuple[Tensor, ...]
    """[B] each: of all that goes into and comes out of every module behind the boundary, and of the logits.

    Equal logits are not enough: what a norm of weight zero makes of a wrong input cannot be told from what it makes of
    the right one, but its gradient can.
    """

    @classmethod
    @torch.no_grad()
    def of(cls, boundary: Boundary, images: Tensor, *, exact: bool) -> _Proof:
        """Run the whole network once."""
        reversed_images = images.flip(0)
        return cls(images, exact, _marked(boundary, lambda: boundary.network(reversed_images), len(images), exact))

    @torch.no_grad()
    def holds(self, boundary: Boundary, tolerance: float = 0.0) -> bool:
        """Whether the cut network leaves the same marks, given reversed prefix outputs."""
        try:
            kept = [tensor.flip(0) for tensor in boundary.prefix(self.images)]
            marks = _marked(boundary, lambda: boundary.suffix(kept, _blank(self.images)), len(self.images), self.exact)
        except _FAULTS:
            return False
        return len(marks) == len(self.marks) and all(
            _close(one, other, tolerance) for one, other in zip(marks, self.marks, strict=True)
        )


def _least(boundary: Boundary, few: _Proof) -> Boundary:
    """Without the kept outputs that the suffix does not need after all."""
    for name in boundary.kept[1:]:
        less = replace(boundary, kept=tuple(other for other in boundary.kept if other != name))
        if few.holds(less, _ROUGHLY):
            boundary = less
    return boundary


def _repeats(boundary: Boundary, proof: _Proof) -> bool:
    """Whether the network makes the same of the images, bit for bit, in their own order."""
    turned = _Proof.of(boundary, proof.images.flip(0), exact=True).marks
    return all(torch.equal(one.flip(0), other) for one, other in zip(turned, proof.marks, strict=True))


def _gradients_differ(boundary: Boundary, images: Tensor) -> bool:
    """Whether any parameter behind the boundary gets another gradient than in the whole network.

    Kernels may round by the layout of what they are given, which forward passes do not show.
    """
    network, turned = boundary.network, images.flip(0)
    kept = [tensor.flip(0) for tensor in boundary.prefix(images)]
    trained = {id(one) for name in boundary.behind for one in network.get_submodule(name).parameters(recurse=False)}
    with requiring_gradients(network, trained) as parameters:
        pairs = zip(
            _gradients(lambda: network(turned), parameters, boundary.autocast),
            _gradients(lambda: boundary.suffix(kept, _blank(images)), parameters, boundary.autocast),
            strict=True,
        )
        return any(_other(one, other) for one, other in pairs)


def _gradients(
    run: Callable[[], Tensor], parameters: Sequence[nn.Parameter], autocast: Autocast
) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():
        with autocast():
            logits = run()
        return torch.autograd.grad(logits.float().square().sum(), parameters, allow_unused=True)


def _marked(boundary: Boundary, run: Callable[[], Tensor], images: int, exact: bool) -> tuple[Tensor, ...]:
    """Marks of all that goes into and comes out of the modules behind the boundary in a run, and of its logits."""
    found: list[Tensor] = []

    def note(module: nn.Module, args: Any, kwargs: Any, output: object) -> None:
        found.extend(_marks((args, kwargs, output), images, exact))

    with ExitStack() as hooks:
        for name in boundary.behind:
            module = boundary.network.get_submodule(name)
            hooks.callback(module.register_forward_hook(note, with_kwargs=True).remove)
        with boundary.autocast():
            logits = run()
    return (*found, *_marks(logits, images, exact))


def _marks(values: object, images: int, exact: bool) -> list[Tensor]:
    """For each tensor of `images` images, a number per image: the sum of its bits, or else the mean of its sizes."""
    found = []
    for one in pytree.tree_leaves(values):
        if isinstance(one, Tensor) and one.ndim and len(one) % images == 0 and one.numel():
            if exact:
                found.append(bits_of(one, images))
            else:
                found.append(one.detach().reshape(images, -1).float().abs().mean(dim=1))
    return found


def _other(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is not other
    return not torch.equal(one, other)


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one, other) if tolerance == 0 else torch.allclose(one, other, rtol=tolerance, atol=tolerance)


def _blank(images: Tensor) -> Tensor:
    """As many images of that shape, without content or memory."""
    return torch.zeros((), dtype=images.dtype, device=images.device).expand_as(images)
