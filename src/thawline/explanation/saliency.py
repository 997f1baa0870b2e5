"""Grad-CAM: where in an image a network finds a class (Selvaraju et al. 2017, "Grad-CAM", section 3).

Not Captum's `LayerGradCam`: it averages over fixed axes, so tokens and channels-last outputs would have to be
rearranged before the average anyway, and it has no rule for choosing the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thawline.errors import ModelError, OptionError
from thawline.explanation.maps import Grid, Layouts, on_grid

FEWEST_POSITIONS = 4
"""Along one edge; a coarser map says little about where (a network of stride 32 has 3 on 96 pixels)."""

_NO_FEATURES = (nn.Identity, nn.Linear, nn.Dropout, nn.Softmax)
"""Projections inside a layer (queries, values) and modules that repeat what another has returned."""

Hook = Callable[[str, Tensor], Tensor]
"""Called with a module's name and output; what it returns replaces the output."""


@dataclass(frozen=True)
class _Candidate:
    name: str
    grid: Grid
    nudge: Tensor
    """Zeros added to the output, so that their gradient is that of the output."""


@torch.enable_grad()
def grad_cam(network: nn.Module, images: Tensor, classes: Tensor, layer: str) -> Tensor:
    """[B, h, w] of at least 0: how much each position of `layer` speaks for a class of each image (Eq. 1 and 2).

    `images` [B, 3, S, S], `classes` [B] indices of logits. The network must be in eval mode; frozen parameters do not
    matter. Raises `OptionError` if `layer` does not exist, did not run, or its output has no positions.
    """
    layouts = Layouts(network)
    held: list[tuple[Tensor, Tensor]] = []

    def hold(_: str, output: Tensor) -> Tensor:
        nudge = torch.zeros_like(output, requires_grad=True)
        held.append((output.detach(), nudge))
        return output.detach() + nudge

    with _outputs_through(network, [_known(network, layer)], hold):
        logits = network(images)
    if not held:
        raise OptionError(f"layer {layer!r} does not run, or returns no tensor; choose another.")
    features, nudge = held[-1]
    grid = layouts.grid(features, len(images))
    if grid is None:
        raise OptionError(f"layer {layer!r} returns {tuple(features.shape)}, which is not a spatial feature map.")
    (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), nudge)
    weights = on_grid(gradient, grid).mean((2, 3), keepdim=True)
    return F.relu((weights * on_grid(features, grid)).sum(dim=1))


def heat(maps: Tensor, size: int) -> Tensor:
    """[B, size, size] from 0 to 1: each map of [B, h, w] over its own maximum, enlarged to the image's size."""
    largest = maps.amax((1, 2), keepdim=True)
    scaled = torch.where(largest > 0, maps / largest.clamp_min(torch.finfo(maps.dtype).tiny), 0)
    return F.interpolate(scaled[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


@torch.enable_grad()
def find_layer(network: nn.Module, images: Tensor) -> str:
    """The best module for Grad-CAM: the last one with a fine enough grid of positions that the logits depend on.

    All paths to the logits must pass through it (not the inside of a residual block), and its positions must matter: in
    a network that classifies by its class token, those of the last block no longer do. `images` [B >= 2, 3, S, S] are
    run to find out. Raises `ModelError` if no module returns a grid.
    """
    candidates = [candidate for candidate in _candidates(network, images) if candidate.grid.side > 1]
    if not candidates:
        raise ModelError(f"{type(network).__name__} has no module with a spatial feature map; name one with `layer`.")
    fine = [candidate for candidate in candidates if candidate.grid.side >= FEWEST_POSITIONS]
    if not fine:
        finest = max(candidate.grid.side for candidate in candidates)
        fine = [candidate for candidate in candidates if candidate.grid.side == finest]
    last_first = [candidate.name for candidate in reversed(fine)]
    return next((name for name in last_first if _nothing_passes_by(network, images, name)), last_first[0])


def _candidates(network: nn.Module, images: Tensor) -> list[_Candidate]:
    """Modules with a grid whose positions the logits depend on, in the order in which they end: outer after inner."""
    layouts, found = Layouts(network), dict[str, _Candidate]()

    def nudged(name: str, output: Tensor) -> Tensor:
        grid = layouts.grid(output, len(images))
        if grid is None or not output.is_floating_point():
            return output
        found.pop(name, None)
        found[name] = _Candidate(name, grid, torch.zeros_like(output, requires_grad=True))
        return output + found[name].nudge

    modules = [name for name, module in network.named_modules() if name and not isinstance(module, _NO_FEATURES)]
    with _outputs_through(network, modules, nudged):
        score = _weighed(network(images))
    if not found:
        return []
    gradients = torch.autograd.grad(score, [candidate.nudge for candidate in found.values()], allow_unused=True)
    return [
        candidate
        for candidate, gradient in zip(found.values(), gradients, strict=True)
        if gradient is not None and bool(on_grid(gradient, candidate.grid).any())
    ]


def _nothing_passes_by(network: nn.Module, images: Tensor, name: str) -> bool:
    """Whether the logits no longer depend on the image when the output of a module is held constant."""
    nudge = torch.zeros_like(images, requires_grad=True)
    with _outputs_through(network, [name], lambda _, output: output.detach()):
        score = _weighed(network(images + nudge))
    if not score.requires_grad:
        return True
    (gradient,) = torch.autograd.grad(score, nudge, allow_unused=True)
    return gradient is None or not gradient.any()


def _weighed(logits: Tensor) -> Tensor:
    """A weighted sum of the logits: a plain sum would be constant if the network ends in a softmax."""
    return (logits * torch.linspace(1, 2, logits.shape[1])).sum()


def _known(network: nn.Module, layer: str) -> str:
    if layer not in dict(network.named_modules()) or not layer:
        last = [name for name, _ in network.named_children()]
        raise OptionError(f"the network has no layer {layer!r}; its top-level modules are {', '.join(last)}.")
    return layer


@contextmanager
def _outputs_through(network: nn.Module, names: Sequence[str], hook: Hook) -> Iterator[None]:
    """Pass the tensors that some modules return through `hook`."""
    handles = []
    for name in names:

        def pass_on(*call: object, name: str = name) -> Tensor | None:
            return hook(name, call[-1]) if isinstance(call[-1], Tensor) else None

        handles.append(network.get_submodule(name).register_forward_hook(pass_on))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
