"""The reference page of the public names of `thawline`, made from their signatures and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import thawline
from thawline import outcomes
from thawline.api import CompareCall, FitCall
from thawline.callback import EVENTS, Callbacks
from thawline.config import CompareOptions, FitOptions
from thawline.field_docs import field_docs

_OPTIONS = {"fit": (FitCall, FitOptions), "compare": (CompareCall, CompareOptions)}
"""Functions that take the options of a command, with the class of all their parameters and that of the options."""
_RETURNED = ("FitRun", "ComparisonRun", "Checked", "Blocks", "Scores", "Guesses", "Explained")
_OLD = ("Listener", "SearchConfig")
"""Names from before 0.2, which go with it."""
_INTRO = """# Python API

Everything that `import thawline` offers. Most commands are functions that take the same options by name (not
`--config`, `--dry-run` and those of published studies); `report`, `strategies`, `init`, `serve`, `push` and
`dashboard` exist on the command line only. What a function returns prints itself, shows itself in a notebook and has
the keys of the JSON files ([results](results.md)). Importing thawline loads no PyTorch; the first call does. Errors
derive from `ThawlineError`; an `InputError` is raised before anything is trained."""


def api_page() -> str:
    """Functions first, then what they return, then the classes that they take."""
    names = [name for name in thawline.__all__ if not name.startswith("_") and name not in _OLD]
    functions = [name for name in names if inspect.isfunction(getattr(thawline, name))]
    classes = [name for name in names if inspect.isclass(getattr(thawline, name))]
    return "\n\n".join(
        [
            _INTRO,
            *(_function(name, getattr(thawline, name)) for name in functions),
            "## What the functions return",
            *(_class(name, getattr(outcomes, name), "###") for name in _RETURNED),
            "## Classes",
            *(_class(name, getattr(thawline, name), "###") for name in classes),
        ]
    )


def _function(name: str, function: Callable[..., Any]) -> str:
    parameters = [*inspect.signature(function).parameters.values()]
    doc = inspect.cleandoc(function.__doc__ or "")
    docs: dict[str, str] = {}
    if name in _OPTIONS:
        call, options = _OPTIONS[name]
        doc = doc.partition("\n\ndata: ")[0]
        doc += f"\n\nBesides these arguments it takes every [option](options.md) of `thawline {name}`."
        parameters, docs = _beyond_options(parameters, options), field_docs(call)
    rows = [
        [f"`{each.name}`", _annotation(each.annotation), _default(each.default), *([docs[each.name]] if docs else [])]
        for each in parameters
    ]
    header = ["argument", "type", "default", *(["meaning"] if docs else [])]
    return f"## `thawline.{name}`\n\n{doc}\n\n{table(header, rows)}"


def _beyond_options(parameters: Iterable[inspect.Parameter], options: type) -> list[inspect.Parameter]:
    """Those that the command line has not, or in which Python takes more."""
    ours = {each.name for each in dataclasses.fields(options)} - {"model", "plan"}
    return [each for each in parameters if each.name not in ours]


def _annotation(annotation: object) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    if "ImageDataset" in text:
        return "`Data`"  # what `data` means says what it may be
    short = re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Za-z])", "", text).replace("NoneType", "None")
    return f"`{short}`"


def _default(default: object) -> str:
    return "" if default is inspect.Parameter.empty else f"`{default!r}`"


def _class(name: str, cls: type, heading: str) -> str:
    parts = [f"{heading} `{name}`", inspect.cleandoc(cls.__doc__ or "")]
    docs = field_docs(cls) if dataclasses.is_dataclass(cls) else {}
    own = vars(cls).get("__annotations__", {})
    fields = [[f"`{field}`", docs[field]] for field in own if field in docs and field != "trust"]
    if fields and not name.endswith("Config"):
        parts.append(table(("field", "meaning"), fields))
    if name.endswith("Config"):
        parts.append("Its fields are [options](options.md) of the same names.")
    methods = [[f"`{call}`", text] for call, text in _methods(cls)]
    if methods:
        parts.append(table(("method or property", "what it does"), methods))
    return "\n\n".join(parts)


def _methods(cls: type) -> Iterable[tuple[str, str]]:
    for name, member in vars(cls).items():
        if name.startswith("_") or name == "draw" or (cls is Callbacks and name in EVENTS):
            continue
        if isinstance(member, property):
            yield name, _first_paragraph(member.fget)
        elif isinstance(member, (staticmethod, classmethod)) or inspect.isfunction(member):
            function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
            given = [each.name for each in inspect.signature(function).parameters.values()]
            yield (
                f"{name}({', '.join(each for each in given if each not in ('self', 'cls'))})",
                _first_paragraph(function),
            )


def _first_paragraph(function: object) -> str:
    return " ".join(inspect.cleandoc(getattr(function, "__doc__", "") or "").split("\n\n")[0].split())


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars in its cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
