"""`--help`, near names and completion: what a user sees who does not know the command yet."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from thawline.cli import app as cli
from thawline.cli.examples import EXAMPLES
from thawline.errors import OptionError
from thawline.other_names import ALIASES, MEANT

COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
ALL_FLAGS = {flag for command in COMMANDS.values() for each in command.params for flag in each.opts}


def help_of(*arguments: str) -> str:
    """At 80 columns."""
    return CliRunner().invoke(cli.app, [*arguments, "--help"]).stdout


def test_every_command_has_a_summary_that_fits_on_a_line_of_80_columns() -> None:
    shown = help_of()
    listed = shown[shown.index("Commands:") : shown.index("Exit codes")].strip().splitlines()[1:]
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_help_uses_the_width_up_to_100_columns(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "argv", ["thawline", "fit", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    longest = max(map(len, capsys.readouterr().out.splitlines()))
    assert min(columns, 100) - 12 < longest <= min(columns, 100)


def test_every_command_has_examples_which_are_commands() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    for name, examples in EXAMPLES.items():
        shown = help_of(name)
        for what, command in examples:
            assert f"  # {what}\n  {command}\n" in shown, "not wrapped, so that it can be copied"
            program, verb, *arguments = shlex.split(command.partition(" > ")[0])
            assert (program, verb) == ("thawline", name)
            COMMANDS[name].make_context(name, arguments)


@pytest.mark.parametrize("verb", ["fit", "compare", "check", "inspect"])
def test_short_forms_are_the_same_option(verb: str) -> None:
    for name, short in ALIASES.items():
        options = [each for each in COMMANDS[verb].params if each.name == name]
        assert [each.opts for each in options] in ([], [[f"--{name.replace('_', '-')}", short]])
        if options:
            context = COMMANDS[verb].make_context(verb, ["somewhere", short, "96", *out_of(verb)])
            assert context.params[name] in ("96", ["96"])
    assert any(each.name == "image_size" for each in COMMANDS[verb].params)


def out_of(verb: str) -> list[str]:
    return ["--out", "run"] if verb in ("fit", "compare") else []


@pytest.mark.parametrize(
    ("verb", "wrong", "hint"),
    [
        ("fit", "--lrr", "did you mean --lr?"),
        ("fit", "--epoch", "did you mean --epochs?"),
        ("fit", "--batch", "did you mean --batch-size?"),
        ("fit", "--strategies", "did you mean --strategy?"),
        ("compare", "--strategy", "did you mean --strategies?"),
        ("fit", "-o", "did you mean --out?"),
        ("predict", "--epochs", "`predict --help` lists all options."),
        ("fit", "--bogus", "`fit --help` lists all options."),
    ],
)
def test_an_unknown_option_names_the_one_that_is_meant(verb: str, wrong: str, hint: str) -> None:
    with pytest.raises(OptionError) as caught:
        COMMANDS[verb].make_context(verb, ["somewhere", wrong, "1", "--out", "run"])
    assert str(caught.value) == f"{verb} has no option {wrong}; {hint}"


def test_what_is_meant_is_an_option() -> None:
    assert {meant for meant in MEANT.values() if meant != "--track"} - ALL_FLAGS == {"--help"}


COMPLETE = """
import sys
sys.argv = ["thawline"]
from thawline.cli.app import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {"torch", "timm", "optuna", "sklearn", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("thawline comp", ["compare"]),
        ("thawline fit --optimizer a", ["adamw", "adam"]),
        ("thawline fit --strategy last_", ["last_blocks", "last_layers"]),
        ("thawline compare --recipe depth", ["depth"]),
    ],
)
def test_the_shell_completes_without_heavy_imports(typed: str, offered: list[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_THAWLINE_COMPLETE": "complete_bash"}
    done = subprocess.run([sys.executable, "-c", COMPLETE], capture_output=True, text=True, env={**os.environ, **words})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == offered


def test_completion_can_be_installed_and_shown() -> None:
    assert re.search(r"--install-completion\b.*--show-completion\b", help_of(), re.DOTALL)
