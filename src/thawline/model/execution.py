"""In which order the parts of a network run: one forward pass with hooks, on real weights or on the meta device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from thawline.errors import ModelError

LAYER_TYPES = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear)


def leaf_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Modules without children, and those that own parameters or buffers themselves, by name; the root is ''."""
    return {name: module for name, module in model.named_modules() if _is_leaf(module)}


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None or owns_tensors(module)


def owns_tensors(module: nn.Module) -> bool:
    """Whether parameters or buffers belong to the module itself, not to its children."""
    tensors = [*module._parameters.values(), *module._buffers.values()]
    return any(tensor is not None for tensor in tensors)


def is_layer(module: nn.Module) -> bool:
    """Whether the module is a convolution or a linear layer: the unit in which depth is counted.

    Some networks define their own (weight-standardised convolutions, binary tables), so a weight of two or more
    dimensions on a module that says it convolves or is linear counts too.
    """
    if isinstance(module, LAYER_TYPES):
        return True
    weight = module._parameters.get("weight")
    kind = type(module).__name__.lower()
    return weight is not None and weight.ndim >= 2 and ("conv" in kind or "linear" in kind)


@dataclass
class Execution:
    """What one forward pass showed about each leaf module. Modules that did not run are absent."""

    first: dict[str, int] = field(default_factory=dict)
    """Position of the first call."""
    last: dict[str, int] = field(default_factory=dict)
    """Position of the last call; differs from `first` for a module that is used again."""
    input_values: dict[str, int] = field(default_factory=dict)
    """Scalars that entered the module at its first call."""
    output_values: dict[str, int] = field(default_factory=dict)
    """Scalars that left the module at its first call."""
    follows: dict[str, str] = field(default_factory=dict)
    """Module -> the layer whose output, itself and untouched, entered the module: how a norm finds its convolution."""

    @property
    def order(self) -> list[str]:
        """Leaf modules by first call."""
        return sorted(self.first, key=self.first.__getitem__)


@torch.no_grad()
def record_execution(model: nn.Module, image_size: int) -> Execution:
    """Run one blank image `[1, 3, image_size, image_size]` through the network in eval mode and note what ran when.

    The model is left as it was: modes, gradients, hooks and buffers. Raises `ModelError` if it cannot run.
    """
    recorder = _Recorder()
    handles = [handle for name, module in leaf_modules(model).items() for handle in recorder.watch(name, module)]
    try:
        forward_blank_image(model, image_size)
    finally:
        for handle in handles:
            handle.remove()
    return recorder.execution


def forward_blank_image(model: nn.Module, image_size: int) -> None:
    """One forward pass in eval mode, modes restored; `ModelError` if the network cannot run at this size."""
    parameter = next(model.parameters())
    image = torch.zeros(1, 3, image_size, image_size, device=parameter.device, dtype=parameter.dtype)
    try:
        with _eval_mode(model):
            model(image)
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{type(model).__name__} cannot run on an image of {image_size} x {image_size} pixels ({reason}); "
            "try another `image_size`."
        ) from error


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class _Recorder:
    """Hooks that fill an `Execution`. Keeps the last layer's output alive, so that no other tensor gets its id."""

    def __init__(self) -> None:
        self.execution = Execution()
        self._calls = 0
        self._last_layer: tuple[str, object] | None = None

    def watch(self, name: str, module: nn.Module) -> tuple[Any, Any]:
        return (
            module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True),
            module.register_forward_hook(partial(self._leave, name, is_layer(module))),
        )

    def _enter(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        execution = self.execution
        execution.last[name] = self._calls
        if name not in execution.first:
            execution.first[name] = self._calls
            execution.input_values[name] = _count([args, kwargs])
            if self._last_layer is not None and any(value is self._last_layer[1] for value in args):
                execution.follows[name] = self._last_layer[0]
        self._calls += 1

    def _leave(self, name: str, layer: bool, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        self.execution.output_values.setdefault(name, _count(output))
        if layer:
            self._last_layer = (name, output)


def _count(value: object) -> int:
    if isinstance(value, Tensor):
        return value.numel()
    if isinstance(value, dict):
        return sum(_count(item) for item in value.values())
    if isinstance(value, list | tuple):
        return sum(_count(item) for item in value)
    return 0
