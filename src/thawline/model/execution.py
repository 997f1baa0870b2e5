"""Order of execution of a network's modules, from a forward pass with hooks, also on the meta device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from thawline.errors import ModelError
from thawline.memory import raise_if_out_of_memory

LAYER_TYPES = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear)


def leaf_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Modules without children, and modules that own parameters or buffers directly, by name; the root is ''."""
    return {name: module for name, module in model.named_modules() if _is_leaf(module)}


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None or owns_tensors(module)


def owns_tensors(module: nn.Module) -> bool:
    """Whether the module itself, not a child, has parameters or buffers."""
    tensors = [*module._parameters.values(), *module._buffers.values()]
    return any(tensor is not None for tensor in tensors)


def is_layer(module: nn.Module) -> bool:
    """Whether the module is a convolution or linear layer, the unit in which depth is counted.

    Some networks define their own (weight-standardized convolutions, for example), so a module with "conv" or "linear"
    in its class name and a weight of two or more dimensions counts too.
    """
    if isinstance(module, LAYER_TYPES):
        return True
    weight = module._parameters.get("weight")
    kind = type(module).__name__.lower()
    return weight is not None and weight.ndim >= 2 and ("conv" in kind or "linear" in kind)


@dataclass
class Execution:
    """Records of a forward pass, by leaf module. Modules that did not run are absent."""

    first: dict[str, int] = field(default_factory=dict)
    """Position of the first call."""
    last: dict[str, int] = field(default_factory=dict)
    """Position of the last call; differs from `first` if the module is called more than once."""
    input_values: dict[str, int] = field(default_factory=dict)
    """Number of input scalars at the first call."""
    output_values: dict[str, int] = field(default_factory=dict)
    """Number of output scalars at the first call."""
    follows: dict[str, str] = field(default_factory=dict)
    """The layer whose unmodified output was the module's input: how a norm finds its convolution."""

    @property
    def order(self) -> list[str]:
        """Leaf modules by first call."""
        return sorted(self.first, key=self.first.__getitem__)


@torch.no_grad()
def record_execution(model: nn.Module, image_size: int) -> Execution:
    """Run one blank image `[1, 3, image_size, image_size]` through the network in eval mode, recording the modules.

    The model is left unchanged: modes, gradients, hooks and buffers. Raises `ModelError` if it cannot run.
    """
    recorder = _Recorder()
    handles = [handle for name, module in leaf_modules(model).items() for handle in recorder.watch(name, module)]
    try:
        forward_blank_image(model, image_size)
    finally:
        for handle in handles:
            handle.remove()
    return recorder.execution


def forward_blank_image(model: nn.Module, image_size: int) -> object:
    """The output of one forward pass in eval mode; restores the modes. Raises `ModelError` if it fails at this size."""
    parameter = next(model.parameters())
    image = torch.zeros(1, 3, image_size, image_size, device=parameter.device, dtype=parameter.dtype)
    try:
        with eval_mode(model):
            return model(image)
    except (RuntimeError, AssertionError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise_if_out_of_memory(error)
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{type(model).__name__} cannot run on images of {image_size} x {image_size} pixels ({reason}); "
            "try another `image_size`."
        ) from error


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Within the context, the whole network is in eval mode; the modes of its modules are restored afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class _Recorder:
    """Hooks that fill an `Execution`; holds the last layer's output, so that no other tensor gets its id."""

    def __init__(self) -> None:
        self.execution = Execution()
        self._calls = 0
        self._last_layer: tuple[str, object] | None = None

    def watch(self, name: str, module: nn.Module) -> tuple[RemovableHandle, RemovableHandle]:
        return (
            module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True),
            module.register_forward_hook(partial(self._leave, name, is_layer(module))),
        )

    def _enter(self, name: str, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        execution = self.execution
        execution.last[name] = self._calls
        if name not in execution.first:
            execution.first[name] = self._calls
            execution.input_values[name] = _count(args) + _count(kwargs)
            if self._last_layer is not None and any(value is self._last_layer[1] for value in args):
                execution.follows[name] = self._last_layer[0]
        self._calls += 1

    def _leave(self, name: str, layer: bool, module: nn.Module, args: object, output: object) -> None:
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
