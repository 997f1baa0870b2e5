"""One source for options: a field of a config class is an option, a keyword and, with its docstring, the help."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import thawline
from thawline import api
from thawline.cli import app as cli
from thawline.cli.options import (
    OPTION_NAMES,
    Given,
    GroupedCommand,
    as_flags,
    help_of,
    option_parameters,
    takes_options,
)
from thawline.config import (
    CacheOptions,
    CompareOptions,
    DataConfig,
    FitOptions,
    ModelOptions,
    RunOptions,
    TrainConfig,
    TuningConfig,
)
from thawline.errors import OptionError
from thawline.field_docs import field_docs
from thawline.signatures import takes

PACKAGE = Path(thawline.__file__).parent
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
PARTS_WHOLE = {"train", "images", "search"}
ONLY_OF_THE_COMMAND = {
    "context",
    "as_json",
    "help",
    "recipe",
    "recipe_data",
    "full_grid",
    "config",
    "dry_run",
    "show_list",
}


def options_of(command: str) -> dict[str, str]:
    """Name -> help text of everything that a command takes."""
    return {parameter.name: parameter.help for parameter in COMMANDS[command].params}


@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_the_function_takes_the_options_of_the_command(verb: str) -> None:
    keywords = set(inspect.signature(getattr(api, verb)).parameters)
    assert keywords - PARTS_WHOLE - OF_PYTHON == set(options_of(verb)) - ONLY_OF_THE_COMMAND


OF_PYTHON = {"callback", "executor"}
"""Objects, which a command line cannot give."""
FILES_OF_THE_COMMAND = {"check": {"out"}, "predict": {"csv", "jsonl"}}
"""Where a command writes what the function returns; of `predict`, what `predict_to` writes."""
EMPTY = ((), "", None)
"""Ways to leave out an option that takes several values: Python's, and those of a command line."""


@pytest.mark.parametrize("verb", ["resume", "demo", "check", "inspect", "evaluate", "predict", "export", "explain"])
def test_the_other_functions_take_the_options_of_their_commands_with_the_same_defaults(verb: str) -> None:
    keywords = dict(inspect.signature(getattr(thawline, verb)).parameters)
    keywords = {name: parameter for name, parameter in keywords.items() if name not in OF_PYTHON}
    keywords = {{"run_folder": "run"}.get(name, name): parameter for name, parameter in keywords.items()}
    options = {each.name: each for each in COMMANDS[verb].params if each.name not in ONLY_OF_THE_COMMAND}
    assert set(keywords) == set(options) - FILES_OF_THE_COMMAND.get(verb, set())
    for name, parameter in keywords.items():
        default, stated = parameter.default, options[name].default
        required = default is inspect.Parameter.empty
        assert required == options[name].required, name
        assert required or str(default) == str(stated) or {default, stated} <= {*EMPTY}, name


def test_predict_to_takes_the_options_of_predict() -> None:
    keywords = {name: set(inspect.signature(getattr(thawline, name)).parameters) for name in ("predict", "predict_to")}
    assert keywords["predict_to"] == keywords["predict"] | {"file", "form"}


@pytest.mark.parametrize("part", [ModelOptions, DataConfig, TrainConfig, TuningConfig, CacheOptions, RunOptions])
def test_every_field_is_an_option_and_a_keyword_with_its_docstring_as_help(part: type[RunOptions]) -> None:
    for field in fields(part):
        for verb in ("fit", "compare"):
            assert options_of(verb)[field.name] == as_flags(field_docs(part)[field.name])
            assert inspect.signature(getattr(api, verb)).parameters[field.name].default == field.default


def test_a_new_field_needs_no_other_change() -> None:
    @dataclass(frozen=True, kw_only=True)
    class MoreOptions(FitOptions):
        patch_size: int = 16
        """Side of a patch in pixels, at most
        `image_size`."""

    seen: list[Mapping[str, object]] = []
    program = typer.Typer(rich_markup_mode=None)

    @program.command(cls=GroupedCommand)
    @takes_options(MoreOptions)
    def command(context: typer.Context, given: Given) -> None:
        seen.append(given)

    shown = CliRunner().invoke(program, ["--help"], env={"COLUMNS": "200"}).stdout
    assert "--patch-size" in shown
    assert "Sideofapatchinpixels,atmost--image-size." in "".join(shown.split()), "lines may end at hyphens"
    assert CliRunner().invoke(program, ["--patch-size", "8", "--epochs", "3"]).exit_code == 0
    assert seen == [{"patch_size": 8, "epochs": 3}]

    @takes(MoreOptions)
    def fit(**options: object) -> None: ...

    assert inspect.signature(fit).parameters["patch_size"].annotation is int


def test_options_stand_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = CliRunner().invoke(cli.app, ["fit", "--help"]).stdout
    headings = [line for line in shown.splitlines() if line and not line.startswith(" ") and line.endswith(":")]
    assert headings[:-2] == ["Arguments:", "Options:", "Model:", "Data:", "Training:", "Tuning:", "Cache:"]
    assert headings[-2:] == ["Workers:", "Examples:"]
    section = shown[shown.index("Training:") : shown.index("Tuning:")]
    assert "--epochs" in section
    assert "--optimizer [adamw|adam|sgd|rmsprop]" in section


def test_every_option_has_a_help_text() -> None:
    for cls in (FitOptions, CompareOptions):
        for parameter in option_parameters(cls):
            assert len(help_of(parameter.name, cls)) > 20, parameter.name


def test_messages_may_name_every_option_of_every_command() -> None:
    flags = {"as_json", "as_csv", "dry_run", "full_grid", "help", "recipe_data", "show_list"}
    named = {each.name for command in COMMANDS.values() for each in command.params if each.param_type_name == "option"}
    assert named - flags <= OPTION_NAMES


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("`image_size` must be at least 8.", "--image-size must be at least 8."),
        ("leave them out with `on_bad='skip'`.", "leave them out with --on-bad skip."),
        ("`test_share=0.2` holds one out", "--test-share 0.2 holds one out"),
        ("`explain=False` leaves it out", "--no-explain leaves it out"),
        (
            "run `thawline resume run` to continue; `epoch` stays",
            "run `thawline resume run` to continue; `epoch` stays",
        ),
    ],
)
def test_the_command_line_shows_options_as_flags(message: str, shown: str) -> None:
    assert as_flags(message) == shown


@pytest.mark.parametrize(
    ("option", "value"),
    [("image_size", "3"), ("on_bad", "ask"), ("cache_memory", "much"), ("preset", "papers"), ("schedule_epochs", "2")],
)
def test_a_wrong_value_names_the_flag_or_the_keyword(
    option: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = f"--{option.replace('_', '-')}"
    monkeypatch.setattr("sys.argv", ["thawline", "fit", str(tmp_path), "--out", str(tmp_path / "run"), flag, value])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(f"thawline: {flag} must be ")
    given = {option: int(value) if value.isdigit() else value}
    with pytest.raises(thawline.InputError, match=f"^`{option}` must be ") as caught:
        api.fit(tmp_path, tmp_path / "run", **given)  # type: ignore[arg-type]
    assert message == f"thawline: {as_flags(str(caught.value))}\n"


@pytest.mark.thorough
def test_no_error_of_the_library_names_a_flag() -> None:
    # Recipes are repeated from the command line only.
    outside = [path for path in PACKAGE.rglob("*.py") if path.parent.name not in ("cli", "recipes")]
    for path in outside:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            texts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
            if isinstance(node, ast.Raise):
                assert not any(isinstance(text, str) and " --" in f" {text}" for text in texts), (path, node.lineno)


SINGLE = [
    (name, option.opts[0])
    for name, command in COMMANDS.items()
    for option in command.params
    if option.param_type_name == "option" and not option.multiple
]


@pytest.mark.parametrize(("command", "option"), SINGLE, ids=lambda value: str(value).strip("-"))
def test_no_option_given_twice_loses_a_value_without_a_word(command: str, option: str) -> None:
    """Options that may be given several times take all values; every other one is refused before anything runs."""
    value = [] if getattr(option_of(command, option), "is_flag", False) else ["2"]
    with pytest.raises(OptionError, match=f"{option} is given 2 times; it takes one value"):
        COMMANDS[command].make_context(command, ["somewhere", option, *value, "else", option, *value])


def option_of(command: str, flag: str) -> object:
    return next(option for option in COMMANDS[command].params if flag in option.opts)


def test_opposite_flags_are_the_same_option_twice() -> None:
    with pytest.raises(OptionError, match="given 2 times"):
        COMMANDS["fit"].make_context("fit", ["photos", "--explain", "--no-explain"])
