"""Write docs/reference/ from the code, or with --check fail if a page there is stale."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import typer

from scripts.api_page import api_page, table
from thawline import results
from thawline.cli.app import app
from thawline.cli.options import declared, help_of, option_parameters
from thawline.config import PRESETS, CompareOptions, FitOptions, RunOptions
from thawline.field_docs import field_docs
from thawline.ranges import kinds
from thawline.strategies import OWN_STRATEGIES
from thawline.strategies.base import Strategy, strategy_class

DOCS = Path(__file__).parents[1] / "docs"
GLOSSARY = DOCS / "glossary.toml"
_NOTE = "<!-- Written by scripts/generate_docs from {source}: change that, not this page. -->\n"
_TAKEN = {"fit": FitOptions, "compare": CompareOptions}
"""Commands most of whose options have sections of their own."""


def options_page() -> str:
    """Every option of `fit` and `compare` by group, presets, and what the other commands take."""
    shared = _options(RunOptions)
    groups: dict[str, list[inspect.Parameter]] = {}
    for parameter in shared.values():
        groups.setdefault(_panel(parameter) or "Other", []).append(parameter)
    parts = [
        "# Options",
        "Options of the command line are keywords of `thawline.fit` and `thawline.compare`: `--image-size 96` "
        "is `image_size=96`, and a switch is True or False. Where the default column is empty, the meaning gives the "
        "default.",
        _section("Only `fit`", _option_table(_options(FitOptions, without=shared).values(), FitOptions)),
        _section("Only `compare`", _option_table(_options(CompareOptions, without=shared).values(), CompareOptions)),
        *(_section(title, _option_table(found, RunOptions)) for title, found in groups.items()),
        _section("Values of the presets", _presets()),
        *(_section(f"`thawline {name}`", text) for name, text in _commands()),
    ]
    return "\n\n".join(parts) + "\n"


def _options(cls: type[RunOptions], without: Iterable[str] = ()) -> dict[str, inspect.Parameter]:
    return {each.name: each for each in option_parameters(cls) if each.name not in without}


def _panel(parameter: inspect.Parameter) -> str | None:
    (option,) = parameter.annotation.__metadata__
    return option.rich_help_panel  # type: ignore[no-any-return]


def _option_table(parameters: Iterable[inspect.Parameter], cls: type[RunOptions]) -> str:
    rows = []
    for each in parameters:
        (option,) = each.annotation.__metadata__
        meaning = _static_help(each.name, cls) + _values(each.name, option.metavar, cls)
        names = _code(declared(each.name, negative=isinstance(each.default, bool)))
        rows.append((names, _default(each.default), meaning))
    return table(("option", "default", "meaning"), rows)


def _code(names: Iterable[str]) -> str:
    """`--explain/--no-explain` as two names."""
    return ", ".join(f"`{name}`" for each in names for name in each.split("/"))


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value in (None, "") else _code(map(str, value if isinstance(value, list) else [value]))


def _static_help(name: str, cls: type[RunOptions]) -> str:
    """Without the list of installed strategies, which differs between machines."""
    return re.sub(r" Installed: .*", "", help_of(name, cls))


def _values(name: str, metavar: str | None, cls: type[RunOptions]) -> str:
    """The choices of an option, or the range of its numbers."""
    if metavar and metavar.startswith("["):
        return f" One of {metavar.strip('[]').replace('|', ', ')}."
    limits = kinds(cls)[name].range if name in kinds(cls) else None
    return f" {str(limits)[0].upper()}{str(limits)[1:]}." if limits else ""


def _presets() -> str:
    names = sorted({name for values in PRESETS.values() for name in values})
    rows = [
        (f"`{name}`", *(f"`{values[name]}`" if name in values else "" for values in PRESETS.values())) for name in names
    ]
    return table(("option", *PRESETS), rows)


def _commands() -> Iterable[tuple[str, str]]:
    """Every command with what it takes, except options that have a section above."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        above = {"context", *(_options(_TAKEN[name]) if name in _TAKEN else ())}
        shown = [each for each in command.params if each.name not in above and not each.hidden]
        rows = [(_code((*each.opts, *each.secondary_opts)), each.help or "") for each in shown]
        yield name, f"{inspect.cleandoc(command.help)}\n\n{table(('argument', 'meaning'), rows)}"


def strategies_page() -> str:
    """Every strategy with what it does and its arguments."""
    sections = [_section(f"`{name}`", _strategy(name, entry.help)) for name, entry in OWN_STRATEGIES.items()]
    intro = (
        "Arguments follow a colon: `last_blocks:k=3`, `lora:rank=8,alpha=16`. Tuning tries values for arguments that "
        "you leave out.\n\nEvery strategy accepts two more. `norm` is what batch norm of trained blocks does: "
        "`moving` = normalize with batch statistics and update the running statistics; `kept` = use the running "
        "statistics of the pretrained network. If unset, tuning tries both if the plan trains any batch norm; "
        "`--norm` sets it for all strategies of a run. `head_start` is what the head starts from: `random`, `probe`, "
        "`kept` (of a model that is fitted again), or `tuned`, which tries them."
    )
    return "\n\n".join(["# Strategies", intro, *sections]) + "\n"


def _strategy(name: str, trains: str) -> str:
    cls = strategy_class(name)
    docs = field_docs(cls)
    rows = [
        (f"`{each.name}`", f"`{each.default}`", _tuned(cls.grid.get(each.name, ())), docs.get(each.name, ""))
        for each in dataclasses.fields(cls)
        if each.name not in Strategy.unsaid
    ]
    arguments = table(("argument", "default", "tuning tries", "meaning"), rows) if rows else "No arguments."
    return f"Trains: {trains}.\n\n{inspect.cleandoc(cls.__doc__ or '')}\n\n{arguments}"


def _tuned(values: Sequence[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def results_page() -> str:
    """Every type of result with its keys, in the order of the module."""
    types = [cls for cls in vars(results).values() if inspect.isclass(cls) and _is_result(cls)]
    sections = [_section(cls.__name__, _result(cls)) for cls in types]
    return "\n\n".join(["# Results", inspect.cleandoc(results.__doc__ or ""), *sections]) + "\n"


def _is_result(cls: type) -> bool:
    return cls.__module__ == results.__name__ and dataclasses.is_dataclass(cls) and not cls.__name__.startswith("_")


def _result(cls: type) -> str:
    docs = field_docs(cls)
    rows = [
        (f"`{each.metadata.get('key', each.name)}`", _type_of(each), docs.get(each.name, ""))
        for each in dataclasses.fields(cls)
    ]
    return f"{inspect.cleandoc(cls.__doc__ or '')}\n\n{table(('key', 'type', 'meaning'), rows)}"


def _type_of(each: dataclasses.Field[object]) -> str:
    """A docstring as written in the source, with links to other results."""
    linked = re.sub(
        r"\w+", lambda word: f"[{word[0]}](#{word[0].lower()})" if _names_result(word[0]) else word[0], str(each.type)
    )
    return f"{linked}, may be absent" if "optional" in each.metadata else linked


def _names_result(word: str) -> bool:
    found = getattr(results, word, None)
    return isinstance(found, type) and _is_result(found)


def glossary_page() -> str:
    """The words that the code, the messages and the docs use."""
    entries = tomllib.loads(GLOSSARY.read_text(encoding="utf-8"))
    rows = [(f"**{word}**", meaning) for word, meaning in sorted(entries.items())]
    return (
        "\n\n".join(
            ["# Glossary", "What the words in code, messages, report and docs mean.", table(("word", "meaning"), rows)]
        )
        + "\n"
    )


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


PAGES: Mapping[str, tuple[str, Callable[[], str]]] = {
    "options.md": ("src/thawline/config.py", options_page),
    "strategies.md": ("src/thawline/strategies/", strategies_page),
    "results.md": ("src/thawline/results.py", results_page),
    "api.md": ("src/thawline/__init__.py and the docstrings", api_page),
    "glossary.md": ("docs/glossary.toml", glossary_page),
}


def stale_pages(folder: Path = DOCS / "reference", *, write: bool = False) -> list[str]:
    """Names of pages that differ from the code; with `write`, they are written anew."""
    stale = []
    for name, (source, page) in PAGES.items():
        text, path = _NOTE.format(source=source) + page(), folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if write:
                path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    checking = "--check" in sys.argv[1:]
    found = stale_pages(write=not checking)
    print(f"docs/reference: {', '.join(found) or 'nothing'} {'stale' if checking else 'written'}")
    if checking and found:
        sys.exit("Run scripts/generate_docs and commit what it writes.")
