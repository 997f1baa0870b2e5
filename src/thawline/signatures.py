"""Functions that take their parameters from a class, and old names of parameters. Standard library only."""

from __future__ import annotations

import functools
import inspect
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, get_type_hints

from thawline.field_docs import field_docs
from thawline.other_names import suggested

P = ParamSpec("P")
R = TypeVar("R")


def takes(parameters: Callable[P, object]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Give a function the parameters of a dataclass, for type checkers, `help()` and editors.

    The function itself is not wrapped: it takes them as `**options` and gets those that the caller gave.
    """

    def typed(function: Callable[..., R]) -> Callable[P, R]:
        hints = get_type_hints(parameters)
        given = [*inspect.signature(parameters).parameters.values()]
        each = [parameter.replace(annotation=hints[parameter.name]) for parameter in given]
        returned = get_type_hints(function)["return"]
        function.__doc__ = f"{function.__doc__}\n{_documented(parameters, [each.name for each in given])}"
        function.__signature__ = inspect.Signature(each, return_annotation=returned)  # type: ignore[attr-defined]
        return function

    return typed


def _documented(parameters: Callable[..., object], names: Sequence[str]) -> str:
    """Every parameter with its docstring, as `help` shows it below that of the function."""
    docs = field_docs(parameters) if isinstance(parameters, type) else {}
    return "\n\n".join(
        textwrap.fill(f"{name}: {docs.get(name, '')}", 112, initial_indent="    ", subsequent_indent="        ")
        for name in names
    )


def refuse_unknown(function: str, options: Mapping[str, object], parameters: type) -> None:
    """`TypeError` for an unknown keyword, as Python raises it, with the nearest known name."""
    known = [*inspect.signature(parameters).parameters]
    if unknown := [name for name in options if name not in known]:
        raise TypeError(f"{function}() got an unexpected keyword argument {unknown[0]!r}{suggested(unknown[0], known)}")


def takes_listener(function: Callable[P, R]) -> Callable[P, R]:
    """Accept `listener=`, the name of `callback=` before 0.2; goes with 0.2."""

    @functools.wraps(function)
    def renamed(*args: P.args, **kwargs: P.kwargs) -> R:
        rename_listener(function.__name__, kwargs)
        return function(*args, **kwargs)

    return renamed


def rename_listener(function: str, options: dict[str, Any]) -> None:
    """Make `callback` of `listener`, in place and with a warning."""
    if "listener" not in options:
        return
    if "callback" in options:
        raise TypeError(f"{function}() got both callback and listener, its old name; leave out listener")
    warnings.warn("listener= is now callback=", DeprecationWarning, stacklevel=3)
    options["callback"] = options.pop("listener")
