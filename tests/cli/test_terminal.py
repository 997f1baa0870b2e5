"""Standard streams of any encoding, closed, full or read by nobody; and what reaches the screen."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from pathlib import Path
from typing import TextIO

import pytest
from rich.console import Console
from rich.progress import Progress

from thawline.cli import app as cli
from thawline.cli.terminal import Screen, Stream, console, for_programs, json_text, standard_streams
from thawline.errors import DataError
from thawline.visible import visible, visible_lines

HOSTILE = "a\x1b[31mb\x1b]0;t\x07\x9b2J\r\x08\x7f\u202e\u2028\udcff"


def _hidden(text: str) -> bool:
    return any(letter in text for letter in HOSTILE if letter not in "ab[31m]0;t2J")


def _wires(monkeypatch: pytest.MonkeyPatch) -> tuple[io.BytesIO, io.BytesIO]:
    """What reaches standard output and standard error, both strict and of an encoding that knows little."""
    out, err = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "cp437", "strict", write_through=True))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(err, "ascii", "strict", write_through=True))
    return out, err


def test_visible_text_is_one_line_and_stays_so() -> None:
    shown = visible(f"{HOSTILE}\n日本 👨‍👩‍👧 \\x1b")
    assert shown == visible(shown)
    assert not _hidden(shown)
    assert shown.endswith(r"\n日本 👨‍👩‍👧 \x1b")
    assert visible_lines("a\n\tb\x1b") == "a\n\tb\\x1b"


def test_messages_of_errors_are_one_visible_line() -> None:
    assert str(DataError(f"{HOSTILE}\nb")) == visible(f"{HOSTILE}\nb")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "utf-8", "utf-16", "latin-1"])
def test_json_is_the_same_in_every_encoding_and_hides_nothing(encoding: str) -> None:
    value = {"name": HOSTILE, "caf\u00e9 \u732b": ["\n", "\\x1b", 0.5]}
    text = json_text(value, encoding)
    assert json.loads(text.encode(encoding).decode(encoding)) == value
    assert not _hidden(text)


def test_streams_take_any_text(monkeypatch: pytest.MonkeyPatch) -> None:
    wires = _wires(monkeypatch)
    with standard_streams():
        sys.stdout.write("❄ ± 猫 \udcff\n")
        sys.stderr.write("❄ é\n")
    assert [wire.getvalue().decode("ascii", "replace") for wire in wires] == ["* \ufffd \\u732b \\udcff\n", "* \\xe9\n"]


def test_nothing_that_is_printed_sends_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    wires = _wires(monkeypatch)
    with standard_streams():
        for stream in (sys.stdout, sys.stderr):
            stream.write(HOSTILE)
            console(stream).print(f"{HOSTILE} [bold]x[/] :rose:")
        assert not _hidden(warnings.formatwarning(HOSTILE, UserWarning, HOSTILE, 1).replace("\r", ""))
    for wire in wires:
        text = wire.getvalue().decode("cp437")
        assert not _hidden(text.replace("\r", ""))
        assert "[bold]x[/] :rose:" in text


def test_a_live_bar_draws_and_its_text_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(text, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    live = console(text)
    with Progress(console=live) as progress:
        progress.add_task("work\x1b]0;title\x07")
        live.print("name\x1b]0;title\x07")
    assert "\x1b]0;" not in text.getvalue()
    assert "\x1b[?25l" in text.getvalue()
    assert "name\\x1b]0;title" in text.getvalue()


def test_tables_for_programs_hold_names_to_the_letter_but_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    screen = Screen(Stream(text))
    for_programs(screen).write("\x1b")  # type: ignore[arg-type]
    monkeypatch.setattr(text, "isatty", lambda: True)
    for_programs(screen).write("\x1b")  # type: ignore[arg-type]
    assert text.getvalue() == "\x1b\\x1b"


def _pipe_without_reader() -> TextIO:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def _closed() -> TextIO:
    stream = io.TextIOWrapper(io.BytesIO())
    stream.close()
    return stream


def _full() -> TextIO:
    return Path("/dev/full").open("w")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_pipe_without_reader, ""),
        (_closed, "standard output ended early (I/O operation on closed file.)."),
        (lambda: None, "standard output ended early (Bad file descriptor)."),
        pytest.param(
            _full,
            "standard output ended early (No space left on device).",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here"),
        ),
    ],
)
def test_a_stream_that_ends_early_ends_nothing(make: object, said: str) -> None:
    assert callable(make)
    raw = make()
    stream = Stream(raw)
    console(stream).print("text")  # type: ignore[arg-type]
    for _ in range(3):
        stream.write("more" * 10_000)
        stream.flush()
    assert stream.lost is not None
    assert stream.tell_loss() == said
    if raw is not None and not raw.closed:
        raw.close()  # as Python does when it ends: nothing is left that would fail


def test_a_reader_that_left_is_worth_a_word_where_the_rest_is_kept() -> None:
    pipe = _pipe_without_reader()
    stream = Stream(pipe)
    stream.write("text")
    assert stream.tell_loss(kept="everything is in run") == (
        "standard output ended early (Broken pipe); everything is in run."
    )
    assert stream.tell_loss() == ""
    pipe.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(("argv", "said"), [(["strategies"], "No space left"), (["--version"], "No space left")])
def test_an_answer_that_nobody_got_is_an_error(
    argv: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr(sys, "argv", ["thawline", *argv])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert stop.value.code == 1
    assert capsys.readouterr().err == f"thawline: standard output ended early ({said} on device).\n"


def test_usage_errors_show_arguments_without_escapes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for argv in (["--no\x1b[31m"], ["check", "gone\x1b[31m\nthawline: fine"], ["report", "gone\x1b[31m"]):
        monkeypatch.setattr(sys, "argv", ["thawline", *argv])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        assert stop.value.code == 2
        assert "\x1b" not in said.out + said.err
        assert "\nthawline: fine" not in said.err


def test_a_plain_console_is_rich_in_everything_else() -> None:
    text = io.StringIO()
    console(text).print("a", style="bold")
    assert isinstance(console(text), Console)
    assert text.getvalue() == "a\n"


@pytest.mark.parametrize("variables", [{}, {"COLUMNS": "80"}, {"TERM": "dumb"}, {"FORCE_COLOR": "1", "TERM": "dumb"}])
def test_what_is_piped_is_never_wrapped(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    pipe = io.StringIO()
    console(pipe).print("word " * 2000)
    assert pipe.getvalue().rstrip("\n").count("\n") == 0
