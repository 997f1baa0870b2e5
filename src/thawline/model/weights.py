"""Reads weights files and loads them into a network; anything that does not fit is an error."""

from __future__ import annotations

import inspect
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import _builder, load_state_dict
from torch import Tensor, nn

from thawline.errors import ModelError
from thawline.formatting import shortened
from thawline.memory import raise_if_out_of_memory
from thawline.model.head import head_modules

State = dict[str, Tensor]
_COUNTER = "num_batches_tracked"
_REPLACING = threading.RLock()
"""Held while a function of timm is replaced, since other threads may load networks, too."""


def read_weights(path: Path) -> State:
    """Tensors by name, from .safetensors, or from .pth, .pt or .bin with `weights_only=True`.

    Unwraps containers (`state_dict`, `model`, averaged weights) and removes the prefixes `module.` and `_orig_mod.`.
    """
    try:
        state = load_state_dict(str(path), weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unreadable(path, "it contains more than tensors, which could run code when loaded") from error
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = "it contains more than tensors" if "weights_only" in str(error) else _one_line(error)
        raise _unreadable(path, reason) from error
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise _unreadable(path, "it is not a dictionary of tensors")
    return dict(state)


def read_saved(path: Path) -> State:
    """Tensors of a .safetensors file that thawline wrote, under the names that it wrote."""
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise _unreadable(path, _one_line(error)) from error


def _unreadable(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} cannot be read as weights ({reason}); use a complete .safetensors or state-dict file.")


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


@contextmanager
def loading(path: Path, *, allow_extra: bool, classifier: bool = False) -> Iterator[None]:
    """Within the context, networks that timm creates with `pretrained=True` get their weights from `path` (see `fill`).

    timm passes a family's checkpoint filter (renamed tensors, resized position tables) only to its own
    `load_pretrained`, which merely logs what is missing; so this function replaces it meanwhile.
    """
    state = read_weights(path)

    def fill_instead(model: nn.Module, *_: object, filter_fn: Callable[..., State] | None = None, **__: object) -> None:
        fitting = _filtered(state, model, filter_fn, path)
        if classifier:
            fitting = _without_background(fitting, model)
        fill(model, fitting, path, allow_extra=allow_extra, classifier=classifier)

    with _REPLACING:
        original = _builder.load_pretrained
        _builder.load_pretrained = cast("Callable[..., None]", fill_instead)
        try:
            yield
        finally:
            _builder.load_pretrained = original


def _filtered(state: State, model: nn.Module, filter_fn: Callable[..., State] | None, path: Path) -> State:
    if filter_fn is None:
        return state
    arguments = (dict(state), model)[: len(inspect.signature(filter_fn).parameters)]
    try:
        return filter_fn(*arguments)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError, IndexError, AssertionError) as error:
        raise_if_out_of_memory(error)
        raise ModelError(
            f"{path} does not fit {_kind(model)} ({_one_line(error)}); is it for another architecture?"
        ) from error


def _without_background(state: State, model: nn.Module) -> State:
    """Cut off the first rows of a classifier with a background class, as timm does where `label_offset` says so."""
    offset = cast("Mapping[str, object]", model.pretrained_cfg).get("label_offset") or 0
    heads = tuple(f"{name}." for name in head_modules(model))
    if not isinstance(offset, int) or offset <= 0:
        return state
    return {name: tensor[offset:] if name.startswith(heads) else tensor for name, tensor in state.items()}


def fill(
    model: nn.Module, state: Mapping[str, Tensor], path: Path, *, allow_extra: bool, classifier: bool = False
) -> None:
    """Copy all tensors into `model`, but those of the classifier only if asked for.

    Raises `ModelError` that names the tensors that are missing, unknown, of another shape or type, or not finite.
    """
    heads = () if classifier else tuple(f"{name}." for name in head_modules(model))
    given, expected = (
        {name: tensor for name, tensor in tensors.items() if not name.startswith(heads)}
        for tensors in (state, model.state_dict())
    )
    if not given.keys() & expected.keys():
        raise ModelError(
            f"{path} does not fit {_kind(model)}: they have no tensor in common "
            f"(the file has {shortened(list(given))}; the network {shortened(list(expected))})."
        )
    common = [name for name in expected if name in given]
    problems = {
        # Batch counters are absent from old files and do not matter.
        "missing": [name for name in expected if name not in given and not name.endswith(_COUNTER)],
        "wrong shape": [name for name in common if given[name].shape != expected[name].shape],
        "wrong type": [name for name in common if _kind_of_number(given[name]) != _kind_of_number(expected[name])],
        "unknown": [] if allow_extra else [n for n in given if n not in expected and not n.endswith(_COUNTER)],
    }
    if any(problems.values()):
        words = "; ".join(f"{word}: {shortened(names)}" for word, names in problems.items() if names)
        raise ModelError(f"{path} does not fit {_kind(model)} ({words}); is it for another architecture or image size?")
    if damaged := [name for name in common if not _is_finite(given[name], expected[name])]:
        raise ModelError(
            f"{path} holds NaN or infinite values in {shortened(damaged)}; use weights that are not damaged."
        )
    model.load_state_dict({name: given[name] for name in common}, strict=False)


def _kind_of_number(tensor: Tensor) -> str:
    """Types that may be copied into one another: weights of 16 bits into one of 32, but no integers into it."""
    if tensor.dtype == torch.bool or tensor.is_complex():
        return str(tensor.dtype)
    return "float" if tensor.is_floating_point() else "integer"


def _is_finite(tensor: Tensor, as_built: Tensor) -> bool:
    """Whether all values are finite in the network's own type, but where it has infinite ones itself (a mask)."""
    return bool((tensor.to(as_built.dtype).isfinite() | ~as_built.isfinite()).all())


def _kind(model: nn.Module) -> str:
    cfg = getattr(model, "pretrained_cfg", {})
    return str(cfg.get("architecture") or type(model).__name__)
