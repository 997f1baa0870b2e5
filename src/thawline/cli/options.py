"""The options of `fit` and `compare`, made from the fields of `config.py`. Imports nothing heavy."""

from __future__ import annotations

import functools
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer import Option
from typer.core import TyperCommand

from thawline.cli.examples import EXAMPLES
from thawline.config import CompareOptions, FitOptions, ModelOptions, RunOptions, read_option
from thawline.errors import OptionError
from thawline.field_docs import field_docs
from thawline.other_names import ALIASES, MEANT
from thawline.strategies import STRATEGIES
from thawline.trackers import TRACKERS

Given = Mapping[str, Any]
"""Options that the user set, by name."""

OTHER_OPTIONS = frozenset(
    {
        *("add", "beside", "code", "config", "csv", "data", "images", "int8", "jsonl", "layer", "max_loss", "out"),
        *("port", "public", "recipe", "to", "top", "trust_code", "yes"),
    }
)
"""Options of commands that are not fields of a config class, and that messages may name."""
OPTION_NAMES = frozenset(field.name for cls in (FitOptions, CompareOptions) for field in fields(cls)) | OTHER_OPTIONS

COMMA_SEPARATED = frozenset({"add", "strategies", "track"})
"""Options whose one value is a list."""

SEVERAL = frozenset({"model", "image_size"})
"""Options that may be given several times."""

_NAMED = re.compile(r"""`(\w+)(?:=(['"]?)([^`'"]*)\2)?`""")
"""How messages name an option (`epochs`), or an option and its value (`on_bad='skip'`)."""


def as_flags(text: str) -> str:
    """A message of the library as the command line shows it: `image_size` in backticks becomes --image-size."""
    return _NAMED.sub(lambda found: _flag(found[1], found[3]) if found[1] in OPTION_NAMES else found[0], text)


def _flag(name: str, value: str | None) -> str:
    dashed = name.replace("_", "-")
    if value in ("True", "False"):
        return f"--{'no-' if value == 'False' else ''}{dashed}"
    return f"--{dashed}" if value is None else f"--{dashed} {value}"


def help_of(name: str, cls: type[ModelOptions] = RunOptions) -> str:
    """The docstring of an option, as `--help` shows it."""
    known = f" Installed: {', '.join(STRATEGIES)}." if name in ("strategy", "strategies") else ""
    separated = "Comma-separated. " if name == "strategies" else ""
    return separated + as_flags(field_docs(cls)[name]) + known


def option_parameters(cls: type[RunOptions]) -> list[inspect.Parameter]:
    """One keyword parameter with its Typer option for every field."""
    hints = get_type_hints(cls)
    return [_parameter(field, hints[field.name], cls) for field in fields(cls)]


def _parameter(field: Field[Any], hint: Any, cls: type[RunOptions]) -> inspect.Parameter:
    default = None if field.default is MISSING else field.default
    kind = _number_type(hint)
    owner = next(base for base in cls.__mro__ if field.name in inspect.get_annotations(base))
    metavar = f"<{kind.__name__}>" if kind else _choices(hint)
    several = field.name in SEVERAL
    if several and default is not None:
        default = [default]
    option = Option(
        *declared(field.name, negative=hint is bool),
        help=help_of(field.name, cls),
        metavar=metavar,
        rich_help_panel=vars(owner).get("group"),
        autocompletion=completes(field.name, hint),
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=",".join(default) if isinstance(default, tuple) else default,
        annotation=Annotated[list[str] | None if several else _parsed_as(hint), option],
    )


def declared(name: str, *, negative: bool = False) -> list[str]:
    """The flags of an option: `--learning-rate` and `--lr`; of a switch `--explain/--no-explain`."""
    flag = f"--{name.replace('_', '-')}"
    return [f"{flag}/--no-{flag.removeprefix('--')}" if negative else flag, *filter(None, [ALIASES.get(name)])]


def completes(name: str, hint: Any) -> Callable[[str], list[str]] | None:
    """What the shell offers after an option: its choices, or names of strategies and trackers."""
    known = {"strategy": [*STRATEGIES], "strategies": [*STRATEGIES], "track": [*TRACKERS]}.get(
        name, list(_literals(hint))
    )
    return (lambda incomplete: [each for each in known if each.startswith(incomplete)]) if known else None


def _literals(hint: Any) -> Iterable[str]:
    choices = next((each for each in (hint, *get_args(hint)) if get_origin(each) is Literal), None)
    return get_args(choices) if choices else ()


def _parsed_as(hint: Any) -> Any:
    """What Typer parses: text for choices, numbers, sizes and lists, which `config.py` reads and checks in one line."""
    if hint is bool:
        return hint
    return str | None if NoneType in get_args(hint) else str


def _number_type(hint: Any) -> type | None:
    return next((kind for kind in (int, float) if hint in (kind, kind | None)), None)


def _choices(hint: Any) -> str | None:
    choices = _literals(hint)
    return f"[{'|'.join(choices)}]" if choices else None


def takes_options(cls: type[RunOptions]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for every field; its parameter `given` gets the values that the user set, by name."""

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters.values()
        shared = option_parameters(cls)
        numbers = {name for name, hint in get_type_hints(cls).items() if _number_type(hint)}

        @functools.wraps(command)
        def expanded(context: typer.Context, **values: Any) -> None:
            options = {field.name: values.pop(field.name) for field in shared}
            given = {
                name: _read(cls, name, value) if name in numbers else _alone(value)
                for name, value in options.items()
                if is_set(context, name)
            }
            command(context=context, given=given, **values)

        keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own if each.name != "given"]
        expanded.__signature__ = inspect.Signature([*keyword, *shared])  # type: ignore[attr-defined]
        return expanded

    return decorated


def _read(cls: type[RunOptions], name: str, value: Any) -> Any:
    """The number that was given for an option, or the list of them."""
    if isinstance(value, list):
        return _alone([read_option(cls, name, each) for each in value])
    return read_option(cls, name, value)


def _alone(value: Any) -> Any:
    """The value itself where a list holds nothing else."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def number_option(cls: type, name: str) -> Any:
    """The Typer option of a number that a command of its own takes, to be read by `config.read_option`."""
    kind = _number_type(get_type_hints(cls)[name])
    metavar = f"<{kind.__name__}>" if kind else None
    return Option(*declared(name), help=as_flags(field_docs(cls)[name]), metavar=metavar)


def is_set(context: typer.Context, name: str) -> bool:
    """Whether the user gave an option, rather than its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""Typer's own, whose home differs between versions."""


class StrictCommand(TyperCommand):
    """A command that takes every single-valued option once: of two values the last one would win without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # Typer's types: their home differs between versions
        """Raises `OptionError` for an option that is given twice, and for an unknown one."""
        if args:
            try:
                _, _, order = self.make_parser(ctx).parse_args(list(args))
            except UsageError as error:
                if unknown := getattr(error, "option_name", None) if hasattr(error, "possibilities") else None:
                    raise OptionError(self._unknown(ctx, unknown)) from None
                raise
            single = [each for each in order if each.param_type_name == "option" and not each.multiple]
            for option, count in Counter(single).items():
                if count > 1:
                    listed = " (a comma-separated list)" if option.name in COMMA_SEPARATED else ""
                    raise OptionError(f"{option.opts[0]} is given {count} times; it takes one value{listed}.")
        return super().parse_args(ctx, args)

    def _unknown(self, ctx: Any, flag: str) -> str:
        known = [name for each in self.get_params(ctx) for name in each.opts if name.startswith("-")]
        words = {name.lstrip("-"): name for name in known}
        near = [words[word] for word in get_close_matches(flag.lstrip("-"), words, n=1)]
        close = [name for name in (MEANT.get(flag), *near) if name in known]
        hint = f"did you mean {close[0]}?" if close else f"`{ctx.command_path} --help` lists all options."
        return f"{ctx.command_path} has no option {flag}; {hint}"

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples at the end, next to the prompt; their lines are never wrapped, so that they can be copied."""
        super().format_epilog(ctx, formatter)
        if examples := EXAMPLES.get(self.name or ""):
            with formatter.section("Examples"):
                for number, (what, command) in enumerate(examples):
                    formatter.write("\n" if number else "")
                    formatter.write(f"  # {what}\n  {command}\n")


class GroupedCommand(StrictCommand):
    """A command whose help shows its options in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # Typer's types: their home differs between versions
        """Write a list of arguments, then one of options for every group."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            panel = getattr(parameter, "rich_help_panel", None) or "Options"
            title = "Arguments" if parameter.param_type_name == "argument" else panel
            if record := parameter.get_help_record(ctx):
                groups.setdefault(title, []).append(record)
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
