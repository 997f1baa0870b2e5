"""Finds out what must be kept to cut a network at a boundary, and verifies that the cut changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from thawline.model.apply import requiring_gradients
from thawline.model.boundary import Boundary, bits_of
from thawline.model.trace import FAULTS, Autocast, Trace

Gradients = Literal["exactly", "roughly", "not needed"]
"""How closely gradients must agree; exactly where kernels sum them in the same order each time."""

TOLERANCE = 1e-5
"""Largest difference, absolute and relative, if rounding depends on the position in the batch."""

_ROUGHLY = 1e-2
"""The same for a check of the structure only: few images, any precision."""
_GRADIENTS_ROUGHLY = 0.1
"""Largest norm of the difference of all gradients, relative to theirs, where kernels sum in another order each time."""


def cut(trace: Trace, name: str, images: Tensor, autocast: Autocast, *, gradients: Gradients) -> Boundary | None:
    """Cut a network in eval mode before the module `name`; None if that is not possible.

    Keeps the last output before the boundary, then the last two, and so on, until the network computes the same from
    `images` [B, 3, S, S] as without the cut: approximately for a few of them, which is quick, then exactly for all. Its
    `gradients` must be the same, too, unless they are not needed. If rounding depends on an image's position in the
    batch, no cut can be exact, and approximate equality is accepted.
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
            if proof.holds(found) and not _gradients_differ(found, images, gradients):
                return found
            nearly = nearly or found
    if nearly is None or _repeats(bare, proof):
        return None
    holds = _Proof.of(bare, images, exact=False).holds(nearly, TOLERANCE)
    roughly: Gradients = "not needed" if gradients == "not needed" else "roughly"
    return nearly if holds and not _gradients_differ(nearly, images, roughly) else None


@dataclass(frozen=True)
class _Proof:
    """Results of the uncut network in eval mode on some images in reversed order, which a cut must reproduce."""

    images: Tensor
    """[B, 3, S, S], in the original order."""
    exact: bool
    """Whether the marks are checksums over all bits."""
    marks: tuple[Tensor, ...]
    """[B] each: marks of the inputs and outputs of every module after the boundary, and of the logits.

    Equal logits are not enough: a norm of weight zero hides a wrong input, but its gradient does not.
    """

    @classmethod
    @torch.no_grad()
    def of(cls, boundary: Boundary, images: Tensor, *, exact: bool) -> _Proof:
        """Run the uncut network once."""
        reversed_images = images.flip(0)
        return cls(images, exact, _marked(boundary, lambda: boundary.network(reversed_images), len(images), exact))

    @torch.no_grad()
    def holds(self, boundary: Boundary, tolerance: float = 0.0) -> bool:
        """Whether the cut network gives the same marks from reversed prefix outputs."""
        try:
            kept = [tensor.flip(0) for tensor in boundary.prefix(self.images)]
            marks = _marked(boundary, lambda: boundary.suffix(kept, _blank(self.images)), len(self.images), self.exact)
        except FAULTS:
            return False
        return len(marks) == len(self.marks) and all(
            _close(mark, expected, tolerance) for mark, expected in zip(marks, self.marks, strict=True)
        )


def _least(boundary: Boundary, few: _Proof) -> Boundary:
    """Drop the kept outputs that the suffix does not need."""
    for name in boundary.kept[1:]:
        less = replace(boundary, kept=tuple(other for other in boundary.kept if other != name))
        if few.holds(less, _ROUGHLY):
            boundary = less
    return boundary


def _repeats(boundary: Boundary, proof: _Proof) -> bool:
    """Whether the network gives bit-identical results for the images in their original order."""
    turned = _Proof.of(boundary, proof.images.flip(0), exact=True).marks
    return all(torch.equal(mark.flip(0), other) for mark, other in zip(turned, proof.marks, strict=True))


def _gradients_differ(boundary: Boundary, images: Tensor, how: Gradients) -> bool:
    """Whether the gradients of the parameters after the boundary differ from those of the uncut network.

    Kernels may round differently for another memory layout, which forward passes do not show. Nor do they show that a
    backward pass runs frozen blocks again (gradient checkpointing), which only the uncut network has inputs for.
    """
    if how == "not needed":
        return False
    network, turned = boundary.network, images.flip(0)
    kept = [tensor.flip(0) for tensor in boundary.prefix(images)]
    modules = [network.get_submodule(name) for name in boundary.behind]
    trained = {id(parameter) for module in modules for parameter in module.parameters(recurse=False)}
    with requiring_gradients(network, trained) as parameters:
        whole = _gradients(lambda: network(turned), parameters, boundary.autocast)
        behind = _gradients(lambda: boundary.suffix(kept, _blank(images)), parameters, boundary.autocast)
        return any(map(_differ, whole, behind)) if how == "exactly" else _differ_roughly(whole, behind)


def _gradients(
    run: Callable[[], Tensor], parameters: Sequence[nn.Parameter], autocast: Autocast
) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():
        with autocast():
            logits = run()
        return torch.autograd.grad(logits.float().square().sum(), parameters, allow_unused=True)


def _marked(boundary: Boundary, run: Callable[[], Tensor], images: int, exact: bool) -> tuple[Tensor, ...]:
    """Marks of the inputs and outputs of all modules after the boundary in a run, and of its logits."""
    found: list[Tensor] = []

    def note(module: nn.Module, args: object, kwargs: object, output: object) -> None:
        found.extend(_marks((args, kwargs, output), images, exact))

    with ExitStack() as hooks:
        for name in boundary.behind:
            module = boundary.network.get_submodule(name)
            hooks.callback(module.register_forward_hook(note, with_kwargs=True).remove)
        with boundary.autocast():
            logits = run()
    return (*found, *_marks(logits, images, exact))


def _marks(values: object, images: int, exact: bool) -> list[Tensor]:
    """For each batched tensor a number per image: a checksum of its bits if `exact`, else its mean absolute value."""
    found = []
    for value in pytree.tree_leaves(values):
        if isinstance(value, Tensor) and value.ndim and len(value) % images == 0 and value.numel():
            if exact:
                found.append(bits_of(value, images))
            else:
                found.append(value.detach().reshape(images, -1).float().abs().mean(dim=1))
    return found


def _differ(gradient: Tensor | None, other: Tensor | None) -> bool:
    if gradient is None or other is None:
        return gradient is not other
    return not torch.equal(gradient, other)


def _differ_roughly(whole: Sequence[Tensor | None], behind: Sequence[Tensor | None]) -> bool:
    """Whether the norm of the difference is more than rounding; a gradient that only one side has differs, too."""
    difference, scale = 0.0, 0.0
    for gradient, other in zip(whole, behind, strict=True):
        if gradient is None or other is None:
            if gradient is not other:
                return True
            continue
        difference += float((gradient.float() - other.float()).square().sum())
        scale += float(gradient.float().square().sum())
    return difference > _GRADIENTS_ROUGHLY**2 * scale


def _close(mark: Tensor, other: Tensor, tolerance: float) -> bool:
    if mark.shape != other.shape or mark.dtype != other.dtype:
        return False
    return torch.equal(mark, other) if tolerance == 0 else torch.allclose(mark, other, rtol=tolerance, atol=tolerance)


def _blank(images: Tensor) -> Tensor:
    """A batch of zeros of the same shape that takes no memory."""
    return torch.zeros((), dtype=images.dtype, device=images.device).expand_as(images)
