"""Read a file of weights and fill a network with it; whatever does not fit is an error, never a silent gap."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from timm.models import _builder, load_state_dict
from torch import Tensor, nn

from thawline.errors import ModelError
from thawline.model.head import head_modules

State = dict[str, Tensor]
_COUNTER = "num_batches_tracked"
_NAMED = 3
"""Tensors that an error message names before it counts the rest."""


def read_weights(path: Path) -> State:
    """Tensors by name from .safetensors, or from .pth, .pt, .bin read with `weights_only=True`.

    Containers (`state_dict`, `model`, averaged weights) are opened, `module.` and `_orig_mod.` prefixes taken off.
    """
    try:
        state = load_state_dict(str(path), weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unreadable(path, "it holds more than tensors, which could run code when loaded") from error
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = "it holds more than tensors" if "weights_only" in str(error) else _one_line(error)
        raise _unreadable(path, reason) from error
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise _unreadable(path, "it is not a dictionary of tensors")
    return dict(state)


def _unreadable(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} cannot be read as weights ({reason}); use a whole .safetensors or state-dict file.")


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


@contextmanager
def loading(path: Path, *, allow_extra: bool) -> Iterator[None]:
    """Inside, networks that timm creates with `pretrained=True` are filled from `path`.

    timm gives a family's checkpoint filter (renamed tensors, resized position tables) to its own `load_pretrained` and
    to nothing else, and that one only logs what is missing; so ours stands in its place for the moment.
    """
    state = read_weights(path)

    def fill_instead(model: nn.Module, *_: object, filter_fn: Callable[..., State] | None = None, **__: object) -> None:
        fill(model, _filtered(state, model, filter_fn, path), path, allow_extra=allow_extra)

    original: Any = _builder.load_pretrained
    _builder.load_pretrained = fill_instead
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
            f"{path} does not fit {_kind(model)} ({_one_line(error)}); is it of another architecture?"
        ) from error


def fill(model: nn.Module, state: Mapping[str, Tensor], path: Path, *, allow_extra: bool) -> None:
    """Copy every tensor but the classifier's into `model`; `ModelError` names the first that do not fit."""
    heads = tuple(f"{name}." for name in head_modules(model))
    # Batch counters are absent from old files and say nothing about fit.
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
        "of another shape": [name for name in expected if name in given and given[name].shape != expected[name].shape],
        "unknown": [] if allow_extra else [name for name in given if name not in expected],
    }
    if any(problems.values()):
        words = "; ".join(f"{word}: {_list(names)}" for word, names in problems.items() if names)
        raise ModelError(f"{path} does not fit {_kind(model)} ({words}); is it of another architecture or image size?")
    fitting = {name: tensor for name, tensor in state.items() if name in expected or name.endswith(_COUNTER)}
    model.load_state_dict(fitting, strict=False)


def _kind(model: nn.Module) -> str:
    cfg = getattr(model, "pretrained_cfg", {})
    return str(cfg.get("architecture") or type(model).__name__)


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
