"""The classifier (head): finding it, and initialising it from a seed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from thawline.errors import ModelError
from thawline.memory import raise_if_out_of_memory
from thawline.model.execution import forward_blank_image, is_layer
from thawline.model.generator import generator_restored


class _TimmNetwork(Protocol):
    """What is used of timm's networks."""

    def get_classifier(self) -> object: ...

    def reset_classifier(self, num_classes: int) -> None: ...


def head_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The classifier's modules by name; several for distilled networks and networks with auxiliary classifiers.

    The head of a network that is not from timm is its last convolution or linear layer. Raises `ModelError` if the
    network has no classifier.
    """
    if not hasattr(model, "pretrained_cfg"):
        return _last_layer(model)
    classifier = cast("_TimmNetwork", model).get_classifier() if hasattr(model, "get_classifier") else None
    heads = tuple(classifier) if isinstance(classifier, list | tuple | nn.ModuleList) else (classifier,)
    settings = cast("Mapping[str, str | Sequence[str] | None]", model.pretrained_cfg)
    names = declared_names(settings.get("classifier") or ())
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        is_head = name in names or any(module is head for head in heads)
        if is_head and not name.startswith(tuple(f"{outer}." for outer in found)):
            found[name] = module
    if not any(True for module in found.values() for _ in module.parameters()):
        kind = settings.get("architecture") or type(model).__name__
        raise ModelError(f"{kind} has no classifier to train; choose a model with a classifier.")
    return found


def linear_head(model: nn.Module, image_size: int) -> nn.Linear | None:
    """The head if it is a single linear layer on features [B, d], so that it can be solved exactly; else None.

    Runs one blank image through the network.
    """
    heads = tuple(head_modules(model).values())
    if len(heads) != 1 or not isinstance(head := heads[0], nn.Linear) or head.bias is None:
        return None
    with captured_inputs(head) as inputs, torch.no_grad():
        forward_blank_image(model, image_size)
    return head if len(inputs) == 1 and inputs[0].ndim == 2 else None


@contextmanager
def captured_inputs(head: nn.Linear) -> Iterator[list[Tensor]]:
    """Within the context, whatever enters the head is appended to the list."""
    inputs: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    try:
        yield inputs
    finally:
        handle.remove()


def declared_names(classifier: str | Sequence[str]) -> tuple[str, ...]:
    """Dotted names of the heads, from the entry `classifier` of a `pretrained_cfg`: one name or several."""
    return (classifier,) if isinstance(classifier, str) else tuple(classifier)


def _last_layer(model: nn.Module) -> dict[str, nn.Module]:
    layers = [(name, module) for name, module in model.named_modules() if is_layer(module)]
    if not layers:
        raise ModelError(f"{type(model).__name__} has no convolution or linear layer, so it has no head to train.")
    return dict(layers[-1:])


def head_tensors(model: nn.Module) -> frozenset[str]:
    """Names of the classifier's parameters and buffers."""
    prefixes = tuple(f"{name}." for name in head_modules(model))
    return frozenset(name for name, _ in named_tensors(model) if name.startswith(prefixes))


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters, then all buffers (including non-persistent ones), each once, with their names."""
    yield from model.named_parameters()
    yield from model.named_buffers()


class HeadFactory:
    """Draws new classifiers, initialised as timm's `reset_classifier` does, without changing the model.

    It works on a copy of the model whose tensors take no memory, because resetting replaces modules, and the model's
    modules must stay the same objects. `create` rebuilds the whole model, for the few models whose `reset_classifier`
    makes another kind of classifier than they were created with (distilled RepViT).
    """

    def __init__(self, model: nn.Module, create: Callable[[], nn.Module]) -> None:
        memo = {id(tensor): _placeholder(tensor) for _, tensor in named_tensors(model)}
        self._skeleton = copy.deepcopy(model, memo)
        self._create = create
        self._num_classes = int(model.num_classes)  # type: ignore[arg-type]
        self._shapes = _shapes(_head_state(model))

    def draw(self, seed: int) -> dict[str, Tensor]:
        """Tensors of a new classifier by name, determined by the seed. The global generator is left unchanged."""
        with seeded(seed):
            cast("_TimmNetwork", self._skeleton).reset_classifier(self._num_classes)
        state = _head_state(self._skeleton)
        if _shapes(state) == self._shapes:
            return state
        with seeded(seed):
            return _head_state(self._create())


class ResettingHead:
    """Draws new classifiers for networks that are not from timm, with `reset_parameters` of every module in the head.

    It works on copies of the head's modules. Raises `ModelError` if a weight matrix does not depend on the seed: the
    layer has no such method, or a parametrisation (weight norm) hides the weight from it.
    """

    def __init__(self, model: nn.Module, source: str) -> None:
        heads = head_modules(model)
        try:
            self._heads = {name: copy.deepcopy(module) for name, module in heads.items()}
            first, second = self.draw(0), self.draw(1)
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise_if_out_of_memory(error)
            raise _cannot_be_drawn(source, heads, str(error)) from error
        constant = [name for name, tensor in first.items() if tensor.ndim >= 2 and torch.equal(tensor, second[name])]
        if constant:
            raise _cannot_be_drawn(source, heads, f"{constant[0]!r} is the same for every seed")

    def draw(self, seed: int) -> dict[str, Tensor]:
        """The same tensors as `HeadFactory.draw`."""
        with seeded(seed):
            for head in self._heads.values():
                for module in head.modules():
                    reset: Callable[[], object] | None = getattr(module, "reset_parameters", None)
                    if reset is not None:
                        reset()
        return {
            f"{name}.{part}": tensor.detach().clone()
            for name, head in self._heads.items()
            for part, tensor in named_tensors(head)
        }


def _cannot_be_drawn(source: str, heads: Mapping[str, nn.Module], reason: str) -> ModelError:
    name, module = next(iter(heads.items()))
    return ModelError(
        f"{source}: its head {name!r} ({type(module).__name__}) cannot be reinitialized from a seed "
        f"({' '.join(reason.split())[:200]}); give it a reset_parameters() that initializes all its weights."
    )


def _head_state(model: nn.Module) -> dict[str, Tensor]:
    names = head_tensors(model)
    return {name: tensor.detach() for name, tensor in named_tensors(model) if name in names}


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the context, random numbers come from `seed`; the global CPU generator is restored afterwards."""
    with generator_restored():
        torch.default_generator.manual_seed(seed)
        yield


def _placeholder(tensor: Tensor) -> Tensor:
    """A scalar expanded to the tensor's shape."""
    empty = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty
