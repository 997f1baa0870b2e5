"""The classifier: where it is, and how a fresh one is drawn from a seed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from thawline.errors import ModelError
from thawline.model.execution import is_layer


def head_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The classifier's modules by name: one, or several for distilled networks and those with auxiliary classifiers.

    A network that is not timm's has its last convolution or linear layer as its head. Raises `ModelError` if there is
    no classifier.
    """
    network: Any = model
    if not hasattr(network, "pretrained_cfg"):
        return _last_layer(network)
    classifier = network.get_classifier() if hasattr(network, "get_classifier") else None
    heads = tuple(classifier) if isinstance(classifier, list | tuple | nn.ModuleList) else (classifier,)
    declared = network.pretrained_cfg.get("classifier") or ()
    names = (declared,) if isinstance(declared, str) else tuple(declared)
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        is_head = name in names or any(module is head for head in heads)
        if is_head and not name.startswith(tuple(f"{outer}." for outer in found)):
            found[name] = module
    if not any(True for module in found.values() for _ in module.parameters()):
        kind = network.pretrained_cfg.get("architecture") or type(network).__name__
        raise ModelError(f"{kind} has no classifier to train: it is an encoder only; choose a model with a classifier.")
    return found


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
    """Parameters, then buffers (also those that a state dict leaves out), each once, by name."""
    yield from model.named_parameters()
    yield from model.named_buffers()


class HeadFactory:
    """Draws new classifiers as timm's `reset_classifier` initialises them, without touching the model.

    It works on a copy of the model whose tensors take no memory, since resetting replaces modules and the model's own
    must stay the same objects. `create` builds the whole model anew, for the few whose `reset_classifier` makes another
    kind of classifier than they were created with (distilled RepViT).
    """

    def __init__(self, model: nn.Module, create: Callable[[], nn.Module]) -> None:
        memo = {id(tensor): _placeholder(tensor) for _, tensor in named_tensors(model)}
        self._skeleton: Any = copy.deepcopy(model, memo)
        self._create = create
        self._num_classes = int(model.num_classes)  # type: ignore[arg-type]
        self._shapes = _shapes(_head_state(model))

    def draw(self, seed: int) -> dict[str, Tensor]:
        """Tensors of a new classifier by name; the same for the same seed. The global generator is not touched."""
        with seeded(seed):
            self._skeleton.reset_classifier(self._num_classes)
        state = _head_state(self._skeleton)
        if _shapes(state) == self._shapes:
            return state
        with seeded(seed):
            return _head_state(self._create())


class ResettingHead:
    """Draws new classifiers of networks that are not timm's: `reset_parameters` of every module in the head.

    It works on copies of the head's modules. Raises `ModelError` if a weight matrix does not depend on the seed: that
    of a layer without the method, or with a parametrisation (weight norm), which hides the weights from it.
    """

    def __init__(self, model: nn.Module, source: str) -> None:
        heads = head_modules(model)
        try:
            self._heads: dict[str, Any] = {name: copy.deepcopy(module) for name, module in heads.items()}
            one, other = self.draw(0), self.draw(1)
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise _cannot_be_drawn(source, heads, str(error)) from error
        constant = [name for name, tensor in one.items() if tensor.ndim >= 2 and torch.equal(tensor, other[name])]
        if constant:
            raise _cannot_be_drawn(source, heads, f"{constant[0]!r} stays the same")

    def draw(self, seed: int) -> dict[str, Tensor]:
        """As `HeadFactory.draw`."""
        with seeded(seed):
            for head in self._heads.values():
                for module in head.modules():
                    if hasattr(module, "reset_parameters"):
                        module.reset_parameters()
        return {
            f"{name}.{part}": tensor.detach().clone()
            for name, head in self._heads.items()
            for part, tensor in named_tensors(head)
        }


def _cannot_be_drawn(source: str, heads: Mapping[str, nn.Module], reason: str) -> ModelError:
    name, module = next(iter(heads.items()))
    return ModelError(
        f"{source}: its head {name!r} ({type(module).__name__}) cannot be drawn anew from a seed "
        f"({' '.join(reason.split())[:200]}); give it a reset_parameters() that initialises all its weights."
    )


def _head_state(model: nn.Module) -> dict[str, Tensor]:
    names = head_tensors(model)
    return {name: tensor.detach() for name, tensor in named_tensors(model) if name in names}


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, and leave the global CPU generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _placeholder(tensor: Tensor) -> Tensor:
    """One scalar, expanded to the tensor's shape."""
    empty = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty
