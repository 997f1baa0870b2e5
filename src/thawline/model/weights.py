"""Reads weights files and loads them into a network; anything that does not fit is an error."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from safetensors import SafetensorError
from timm.models import _builder, load_state_dict
from torch import Tensor, nn

from thawline.errors import ModelError
from thawline.model.head import head_modules

State = dict[str, Tensor]
_COUNTER = "num_batches_tracked"
_NAMED = 3
"""Number of tensors that an error message names."""


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


def _unreadable(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} cannot be read as weights ({reason}); use a complete .safetensors or state-dict file.")


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


@contextmanager
def loading(path: Path, *, allow_extra: bool) -> Iterator[None]:
    """Within the context, networks that timm creates with `pretrained=True` get their weights from `path`.

    timm passes a family's checkpoint filter (renamed tensors, resized position tables) only to its own
    `load_pretrained`, which merely logs what is missing; so this function replaces it meanwhile.
    """
    state = read_weights(path)

    def fill_instead(model: nn.Module, *_: object, filter_fn: Callable[..., State] | None = None, **__: object) -> None:
        fill(model, _filtered(state, model, filter_fn, path), path, allow_extra=allow_extra)

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
        raise ModelError(
            f"{path} does not fit {_kind(model)} ({_one_line(error)}); is it for another architecture?"
        ) from error


def fill(model: nn.Module, state: Mapping[str, Tensor], path: Path, *, allow_extra: bool) -> None:
    """Copy all tensors except the classifier's into `model`. Raises `ModelError`, naming those that do not fit."""
    heads = tuple(f"{name}." for name in head_modules(model))
    # Batch counters are absent from old files and do not matter.
    given, expected = (
        {n: tensor for n, tensor in tensors.items() if not n.startswith(heads) and not n.endswith(_COUNTER)}
        for tensors in (state, model.state_dict())
    )
    if not given.keys() & expected.keys():
        raise ModelError(
            f"{path} does not fit {_kind(model)}: they have no tensor in common "
            f"(the file has {_list(list(given))}; the network {_list(list(expected))})."
        )
    problems = {
        "missing": [name for name in expected if name not in given],
        "wrong shape": [name for name in expected if name in given and given[name].shape != expected[name].shape],
        "unknown": [] if allow_extra else [name for name in given if name not in expected],
    }
    if any(problems.values()):
        words = "; ".join(f"{word}: {_list(names)}" for word, names in problems.items() if names)
        raise ModelError(f"{path} does not fit {_kind(model)} ({words}); is it for another architecture or image size?")
    fitting = {name: tensor for name, tensor in state.items() if name in expected or name.endswith(_COUNTER)}
    model.load_state_dict(fitting, strict=False)


def _kind(model: nn.Module) -> str:
    cfg = getattr(model, "pretrained_cfg", {})
    return str(cfg.get("architecture") or type(model).__name__)


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
