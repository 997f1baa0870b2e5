"""Ctrl-C, SIGTERM and SIGHUP: one line, and a promise only where it can be kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from thawline import api
from thawline.callback import Callback
from thawline.cli import app as cli
from thawline.cli.interrupts import SIGNALS, Interrupted, Interrupts
from thawline.records import RUN_FILES


@pytest.fixture(autouse=True)
def _not_ignored() -> Iterator[None]:
    """Handle signals like a terminal: a shell in the background and `nohup` leave some of them ignored."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for the commands to be called with; no command gets as far as reading it."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()


def _main(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["thawline", *argv])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("begun", [True, False])
def test_a_signal_is_one_line(
    number: signal.Signals,
    begun: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(request: object, out: Path, callback: Callback, workers: object) -> None:
        if begun:
            out.mkdir()
            (out / RUN_FILES[0]).write_text("{}")
        os.kill(os.getpid(), number)
        raise AssertionError("the signal raises")

    monkeypatch.setattr(api, "run", run)
    out = tmp_path / "run"
    before = signal.getsignal(number)
    assert _main(["fit", "photos", "--out", str(out)], monkeypatch) == 128 + number
    name = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    way_on = f"run `thawline resume {out}` to continue" if begun else "nothing was started"
    assert capsys.readouterr().err == f"thawline: {name}; {way_on}.\n"
    assert signal.getsignal(number) is before


def test_commands_that_cannot_be_resumed_promise_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def predict(*_: object, **__: object) -> None:
        raise KeyboardInterrupt  # from a factory of the user's

    monkeypatch.setattr("thawline.prediction.opened.open_classifier", predict)
    assert _main(["predict", "run", "image.png"], monkeypatch) == 130
    assert capsys.readouterr().err == "thawline: interrupted.\n"


def test_a_signal_is_not_hidden_by_a_clean_up_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object, **__: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise RuntimeError("did not possess lock")

    monkeypatch.setattr(api, "run", run)
    assert _main(["fit", "photos", "--out", str(tmp_path / "run")], monkeypatch) == 143
    assert capsys.readouterr().err == "thawline: ended by SIGTERM; nothing was started.\n"


def test_a_signal_in_a_destructor_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Dying:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    def run(*_: object, **__: object) -> None:
        Dying()
        time.sleep(20)

    monkeypatch.setattr(api, "run", run)
    assert _main(["fit", "photos", "--out", str(tmp_path / "run")], monkeypatch) == 143
    assert capsys.readouterr().err == "thawline: ended by SIGTERM; nothing was started.\n"


def test_signals_that_were_ignored_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interrupts().raised():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted), Interrupts().raised():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)


TWICE = """
import os, signal, sys
from thawline.cli.interrupts import INTERRUPTS
with INTERRUPTS.raised():
    INTERRUPTS.way_on = lambda: "run `x` to continue"
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        {said}
        os.kill(os.getpid(), signal.SIGTERM)
        print("still here")
"""


@pytest.mark.parametrize("said", ["pass", "sys.stderr.write(INTERRUPTS.line(2))"])
def test_a_second_signal_ends_at_once_with_one_line(said: str) -> None:
    done = subprocess.run([sys.executable, "-c", TWICE.format(said=said)], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 143
    assert done.stderr.count("thawline: ") == 1
    assert done.stderr.endswith("; run `x` to continue.\n")
