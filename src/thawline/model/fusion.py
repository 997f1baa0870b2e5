"""Convolutions that do the work of the batch norm and the activation behind them.

With kept statistics a batch norm is a scale and a shift of every channel, so the convolution before it can have them in
its weights: the same function up to rounding, with one pass over the activations less (Jacob et al. 2018, section 3.2).
Gradients reach the weights of both through the product. Where nothing needs a gradient and the network is on a CPU,
oneDNN applies the activation in the same pass, too, with weights in its own layout.

On a CPU depthwise convolutions that need gradients compute in fp32, even where autocast has the rest in bf16: the
backward pass of oneDNN's bf16 kernels for them loses more than the others gain. Without gradients bf16 is faster
(benchmarks/README.md, "bf16 on a CPU" and "Speed").

The network is not rewritten: within `Fusion.on`, modules get other `forward` methods. Their weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from types import NoneType

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from thawline.errors import ModelError
from thawline.model.execution import forward_blank_image
from thawline.model.generator import generator_restored
from thawline.model.layout import left_unchanged
from thawline.model.trace import FAULTS, parents_of

TOLERANCE = 1e-4
"""Largest difference of outputs, relative to the largest of them, at which a network counts as the same function."""
_CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)
_NEEDS_INPUT = (nn.Hardtanh, nn.Hardswish, nn.SiLU)
"""Activations whose gradient needs their input: if they work in place, autograd copies it first."""

_KERNELS = ("_convolution_pointwise", "_reorder_convolution_weight", "_is_mkldnn_bf16_supported")
"""oneDNN kernels of PyTorch that `torch.compile` uses, too."""

PLAIN, WITH_NORM, WITH_ACTIVATION = range(3)
"""How far a convolution has gone."""


@dataclass(eq=False)
class Chain:
    """A convolution, the batch norm that takes its output as it is, and the activation behind that."""

    names: tuple[str, ...]
    """Names of its modules, in order of execution."""
    convolution: nn.Conv2d
    norm: nn.BatchNorm2d
    activation: nn.Module | None = None
    """A module of its own; None if the norm contains it, or if there is none."""
    _reached: int = PLAIN
    """What the latest call of the convolution has done."""
    _packed: tuple[object, tuple[Tensor, Tensor]] | None = None
    """Weights and bias in the layout of oneDNN, and what they were made for."""

    @property
    def modules(self) -> Iterator[tuple[nn.Module, object]]:
        """The modules with the methods that stand in for their `forward`."""
        yield self.convolution, self.convolve
        yield self.norm, self.normalize
        if self.activation is not None:
            yield self.activation, self.activate

    def is_whole(self, stubs: Collection[str]) -> bool:
        """Whether all of its modules are within the modules `stubs`, or none is."""
        return len({name in stubs or any(parent in stubs for parent in parents_of(name)) for name in self.names}) == 1

    @property
    def without_activation(self) -> Chain:
        """The same, but for the activation."""
        return replace(self, names=self.names[:2], activation=None)

    def convolve(self, images: Tensor) -> Tensor:
        """The convolution [B, C, H, W], and as much of what follows as it can do."""
        if is_depthwise(self.convolution) and self._needs_gradients(images):
            return _in_fp32(self._convolve, images)
        return self._convolve(images)

    def _convolve(self, images: Tensor) -> Tensor:
        self._reached = PLAIN
        if not self.norm.training and type(self.convolution) in _CONVOLUTIONS:
            if not self._needs_gradients(images):
                return self._without_gradients(images)
            if self.convolution.weight.requires_grad or not self._norm_trains():
                return self._scaled(images)
        output: Tensor = type(self.convolution).forward(self.convolution, images)
        return output

    def normalize(self, outputs: Tensor) -> Tensor:
        """What is left of the norm, and of an activation that it contains."""
        if self._reached == PLAIN:
            return type(self.norm).forward(self.norm, outputs)
        if self._reached == WITH_NORM and isinstance(self.norm, BatchNormAct2d):
            activated: Tensor = self.norm.act(outputs)
            return activated
        return outputs

    def activate(self, outputs: Tensor) -> Tensor:
        """The activation, if it has not been applied."""
        if self._reached == WITH_ACTIVATION or self.activation is None:
            return outputs
        activated: Tensor = type(self.activation).forward(self.activation, outputs)
        return activated

    def _needs_gradients(self, images: Tensor) -> bool:
        return _needs_gradients(self.convolution, images) or (torch.is_grad_enabled() and self._norm_trains())

    def _norm_trains(self) -> bool:
        return any(tensor is not None and tensor.requires_grad for tensor in (self.norm.weight, self.norm.bias))

    def _scaled(self, images: Tensor) -> Tensor:
        """The convolution with the norm in its weights."""
        own = self.convolution._parameters
        before, self._reached = dict(own), WITH_NORM
        weight, bias = self._folded()
        try:
            own.update(weight=weight, bias=bias)  # type: ignore[call-overload]
            output: Tensor = type(self.convolution).forward(self.convolution, images)
        finally:
            own.clear()
            own.update(before)
        return output

    def _folded(self) -> tuple[Tensor, Tensor]:
        """Weights and bias of a convolution that does what both do."""
        convolution, norm = self.convolution, self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        scale = scale if norm.weight is None else norm.weight * scale
        shift = -norm.running_mean if convolution.bias is None else convolution.bias - norm.running_mean
        bias = shift * scale if norm.bias is None else shift * scale + norm.bias
        return convolution.weight * scale.view(-1, 1, 1, 1), bias

    def _without_gradients(self, images: Tensor) -> Tensor:
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images.dtype
        if not _onednn_takes(images, kind):
            return self._scaled(images)
        convolution = self.convolution
        padding: object = convolution.padding
        activation = self.norm.act if isinstance(self.norm, BatchNormAct2d) else None
        known = _in_onednn(self.activation or activation)
        self._reached = WITH_NORM if known is None else WITH_ACTIVATION
        if isinstance(convolution, Conv2dSame):
            images = pad_same(images, [*convolution.kernel_size], [*convolution.stride], [*convolution.dilation])
            padding = (0, 0)
        images = images.to(kind)
        geometry = (padding, convolution.stride, convolution.dilation, convolution.groups)
        weight, bias = self._in_own_layout(images, geometry)
        output: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, weight, bias, *geometry, *(known or ("none", [], ""))
        )
        return output

    def _in_own_layout(self, images: Tensor, geometry: Sequence[object]) -> tuple[Tensor, Tensor]:
        """Weights and bias for inputs like `images`, made anew when they or anything that they depend on changed."""
        convolution, norm = self.convolution, self.norm
        sources = (
            *(convolution.weight, convolution.bias, norm.weight, norm.bias),
            # Kernels that update the statistics do not mark them as changed, but batches are counted.
            *(norm.running_mean, norm.running_var, norm.num_batches_tracked),
        )
        # The layout may depend on the shape, and rounding on the layout.
        made_for = (images.shape, images.dtype, *map(_state_of, sources))
        if self._packed is None or self._packed[0] != made_for:
            weight, bias = (tensor.detach().to(images.dtype) for tensor in self._folded())
            packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, [*images.shape])
            self._packed = made_for, (packed, bias)
        return self._packed[1]


class Fusion:
    """The chains of a network."""

    def __init__(self, network: nn.Module, image_size: int, *, trains: bool = False) -> None:
        """Find the chains by running one blank image.

        Those with which the network would compute something else are left out; if it cannot run, all are. `trains`:
        whether it is going to be trained, so that it must compute the same in train mode, too.
        """
        self._network = network
        self._image_size = image_size
        modules = (module for module in network.modules() if isinstance(module, _NEEDS_INPUT))
        self._copying = [module for module in modules if getattr(module, "inplace", False)]
        """Activations that autograd copies the input of, since they work in place."""
        self._depthwise = [
            module
            for module in network.modules()
            if isinstance(module, nn.Conv2d) and type_before_parametrizations(module) in _CONVOLUTIONS
            if is_depthwise(module) and "forward" not in vars(module)
        ]
        self.chains: Sequence[Chain] = ()
        try:
            found = _chains(network, image_size)
            modes = ((False, True) if trains else (False,)) if found or self._copying else ()
            plain = {training: self._outputs(training=training) for training in modes}
            if not self._is_the_same(self._out_of_place(), plain):
                self._copying = []  # something relies on what they do to their input
            self.chains = self._faithful(found, plain)
        except (ModelError, MemoryError, *FAULTS):  # whoever runs the network will see why
            pass

    @contextmanager
    def on(self, stubs: Collection[str] = ()) -> Iterator[None]:
        """Within the context, the network runs so, but for chains of which only a part is in the modules `stubs`.

        Contexts may be nested.
        """
        forwards = dict[nn.Module, object]((module, partial(_plainly, module)) for module in self._depthwise)
        for chain in self.chains:
            forwards |= dict(chain.modules) if chain.is_whole(stubs) else {}
        with _running(forwards.items()), nullcontext() if not torch.is_grad_enabled() else self._out_of_place():
            yield

    @contextmanager
    def _out_of_place(self) -> Iterator[None]:
        """Within the context, the activations that autograd would copy the input of do not work in place."""
        with _with_attribute("inplace", ((activation, False) for activation in self._copying)):
            yield

    def _faithful(self, chains: Sequence[Chain], plain: Mapping[bool, Tensor]) -> Sequence[Chain]:
        """Those of the chains that change nothing: a convolution's output may be used elsewhere, too."""

        def change_nothing(some: Sequence[Chain]) -> bool:
            return self._is_the_same(_running([pair for chain in some for pair in chain.modules]), plain)

        def without_others(some: Sequence[Chain]) -> Sequence[Chain]:
            if not some or change_nothing(some):
                return some
            half = len(some) // 2
            return [*without_others(some[:half]), *without_others(some[half:])] if half else ()

        kept = without_others(chains)
        return kept if len(kept) == len(chains) or change_nothing(kept) else ()

    def _is_the_same(self, context: AbstractContextManager[object], plain: Mapping[bool, Tensor]) -> bool:
        """Whether the network gives its `plain` outputs (by whether it is in train mode) within a context, too."""
        with context:
            return all(_close(self._outputs(training=training), output) for training, output in plain.items())

    @torch.no_grad()
    def _outputs(self, *, training: bool) -> Tensor:
        """Logits of two images, in train mode with kept statistics if asked.

        Norms of weight zero, which could hide what happens before them, have another weight here.
        """
        network, size, parameter = self._network, self._image_size, next(self._network.parameters())
        images = torch.linspace(-2, 2, 6 * size**2).view(2, size, size, 3).permute(0, 3, 1, 2).to(parameter)
        norms = {name: module._parameters.get("weight") for name, module in network.named_modules()}
        weights = {
            f"{name}.weight": torch.where(weight == 0, 1.0, weight)
            for name, weight in norms.items()
            if weight is not None and weight.ndim == 1
        }
        with left_unchanged(network), ExitStack() as draws:
            if training:
                draws.enter_context(generator_restored(parameter.device))
                torch.manual_seed(0)
            for module in network.modules():
                module.training = training and not isinstance(module, nn.modules.batchnorm._BatchNorm)
            logits: Tensor = functional_call(network, weights, images)
            return logits


def _close(output: Tensor, other: Tensor) -> bool:
    scale = other.abs().max()
    return bool(torch.isfinite(scale)) and bool((output - other).abs().max() <= TOLERANCE * scale)


def is_depthwise(module: nn.Module) -> bool:
    """Whether a module is a convolution of every channel by itself."""
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1


def _needs_gradients(convolution: nn.Conv2d, images: Tensor) -> bool:
    return torch.is_grad_enabled() and (
        images.requires_grad or any(parameter.requires_grad for parameter in convolution.parameters())
    )


def _plainly(convolution: nn.Conv2d, images: Tensor) -> Tensor:
    """A depthwise convolution by itself."""
    function: Callable[[Tensor], Tensor] = partial(type(convolution).forward, convolution)
    return _in_fp32(function, images) if _needs_gradients(convolution, images) else function(images)


def _in_fp32(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """A function of images, in fp32 if autocast has a CPU compute in less."""
    if not torch.is_autocast_enabled("cpu") or images.device.type != "cpu":
        return function(images)
    with torch.autocast("cpu", enabled=False):
        return function(images.float())


@contextmanager
def _with_attribute(name: str, values: Iterable[tuple[nn.Module, object]]) -> Iterator[None]:
    """Within the context, modules have these values of an attribute of their own."""
    with ExitStack() as after:
        for module, value in values:
            own = vars(module)
            after.callback(own.__setitem__, name, own[name]) if name in own else after.callback(own.pop, name, None)
            own[name] = value
        yield


_running = partial(_with_attribute, "forward")


def _chains(network: nn.Module, image_size: int) -> list[Chain]:
    """Convolutions and norms that follow each other directly when one blank image runs through the network."""
    found: list[Chain] = []
    last: tuple[str, nn.Module, Tensor | None, int] = "", network, None, 0
    calls: dict[nn.Module | None, int] = {}

    def enter(name: str, module: nn.Module, inputs: tuple[object, ...]) -> None:
        calls[module] = calls.get(module, 0) + 1
        before, source, output, version = last
        if output is None or len(inputs) != 1 or inputs[0] is not output or output._version != version:
            return
        if isinstance(source, nn.Conv2d) and isinstance(module, nn.BatchNorm2d) and _foldable(source, module):
            found.append(Chain((before, name), source, module))
        elif found and found[-1].norm is source and type(source) is nn.BatchNorm2d and _in_onednn(module):
            found[-1] = replace(found[-1], names=(*found[-1].names, name), activation=module)

    def leave(name: str, module: nn.Module, _: object, output: object) -> None:
        nonlocal last
        last = (name, module, output, output._version) if isinstance(output, Tensor) else ("", module, None, 0)

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            inner = next(module.children(), None) is not None and not isinstance(module, _NORMS)
            if not (inner or type(module) is nn.Identity):
                hooks.callback(module.register_forward_pre_hook(partial(enter, name)).remove)
                hooks.callback(module.register_forward_hook(partial(leave, name)).remove)
        forward_blank_image(network, image_size)
    whole = (chain if calls.get(chain.activation, 1) == 1 else chain.without_activation for chain in found)
    return [chain for chain in whole if all(calls[m] == 1 and "forward" not in vars(m) for m, _ in chain.modules)]


def _foldable(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    """Whether a pair is an ordinary one: padded with zeros, with statistics, nothing between norm and activation."""
    return (
        type_before_parametrizations(convolution) in _CONVOLUTIONS
        # With hooks such as the legacy `weight_norm`, the weight is recomputed in every call and is not a parameter.
        and (is_parametrized(convolution) or convolution._parameters.get("weight") is not None)
        and type(norm) in _NORMS
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
        and norm.running_mean is not None
        and norm.running_var is not None
        and norm.num_batches_tracked is not None
        and isinstance(getattr(norm, "drop", None), nn.Identity | NoneType)
    )


def _in_onednn(activation: nn.Module | None) -> tuple[str, list[float], str] | None:
    """Name, numbers and variant by which oneDNN knows an activation; None if it does not."""
    if activation is None:
        return "none", [], ""
    if type(activation) is nn.GELU:
        return "gelu", [], activation.approximate
    if type(activation) in (nn.Hardtanh, nn.ReLU6):
        assert isinstance(activation, nn.Hardtanh)
        return "hardtanh", [activation.min_val, activation.max_val], ""
    names = {nn.Identity: "none", nn.ReLU: "relu", nn.SiLU: "swish", nn.Hardswish: "hardswish"}
    return (names[type(activation)], [], "") if type(activation) in names else None


def _onednn_takes(images: Tensor, kind: torch.dtype) -> bool:
    """Whether oneDNN can compute in `kind` with these images, on this processor."""
    return (
        images.device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and images.is_contiguous(memory_format=torch.channels_last)
        and all(hasattr(torch.ops.mkldnn, name) for name in _KERNELS)
        and (kind == torch.float32 or (kind == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()))
    )


def _state_of(tensor: Tensor | None) -> tuple[int, int]:
    """Differs between two states of a tensor."""
    if tensor is None:
        return 0, 0
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version
