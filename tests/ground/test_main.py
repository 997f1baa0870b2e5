from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks.ground import __main__ as command
from benchmarks.ground.methods import METHODS
from benchmarks.ground.splits import DEVELOPMENT, PUBLISHED


class Child:
    """A process that ends at once."""

    started: list[tuple[Sequence[str], Mapping[str, str]]]

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        self.started.append((arguments, env))

    def wait(self) -> int:
        return len(self.started) - 1

    def terminate(self) -> None:
        pass


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of the command, with children that do nothing."""
    Child.started = []
    monkeypatch.setattr(sys, "argv", ["ground", *arguments])
    monkeypatch.setattr("subprocess.Popen", Child)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        command.main()
    return int(str(ended.value.code))


def test_processes_share_the_same_command_and_one_that_failed_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--sets", "dtd10", "--processes", "2") == 1
    (first, environment), second = Child.started
    assert (first, environment) == second
    assert list(first)[-6:] == ["benchmarks.ground", "--sets", "dtd10", "--processes", "2", "--processes", "1"][-6:]
    assert environment["OMP_NUM_THREADS"] == "1"


def test_processes_of_a_smoke_test_share_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, "--smoke", "--processes", "2", "--runs", str(tmp_path))
    assert [list(arguments)[-2:] for arguments, _ in Child.started] == [["--runs", str(tmp_path)]] * 2


def test_splits_are_named_or_numbered() -> None:
    assert command._splits(["development", "published", "7"]) == [*DEVELOPMENT, *PUBLISHED, 7]


def test_methods_are_chosen_by_name_or_by_group() -> None:
    chosen = command._methods("last_blocks:k=1,head_start=probe,norm=kept,full,peers")
    names = ["full", "last_blocks:k=1,head_start=probe,norm=kept", "fastai", "hf", "timm"]
    assert [method.name for method in chosen] == names
    assert len(command._methods("")) == len(METHODS)
