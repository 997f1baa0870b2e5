"""Out of memory, as Python, numpy, PyTorch and the system say it, is one line of ours with exit code 1."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import thawline
from thawline.cli import app as cli
from thawline.errors import RunError, TooLittleMemoryError
from thawline.memory import is_out_of_memory, keep_freed_memory, within_memory
from thawline.model.execution import forward_blank_image

MUCH = 1 << 55


def raising(error: Exception) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        (lambda: torch.empty(MUCH, dtype=torch.uint8), r" \(33,554,432.0 GiB at once\)"),
        (lambda: np.zeros(MUCH, np.uint8), r" \(32.0 PiB at once\)"),
        (lambda: bytearray(MUCH), ""),
        (lambda: np.resize(np.arange(3), MUCH), ""),
        (lambda: torch.empty(2**62, 2**62), ""),
        (raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")), r" \(2.00 GiB at once\)"),
        (raising(OSError(errno.ENOMEM, "Cannot allocate memory")), ""),
        (raising(RuntimeError("can't start new thread")), ""),
        (raising(RuntimeError("could not create a primitive")), ""),
        (raising(SystemError("error return without exception set")), ""),
        (raising(ImportError("libtorch_cpu.so: failed to map segment from shared object")), ""),
        (raising(RuntimeError("MPS backend out of memory")), ""),
    ],
)
def test_every_way_to_run_out_of_memory_is_known(attempt: Callable[[], object], says: str) -> None:
    with pytest.raises(TooLittleMemoryError, match=rf"^out of memory{says}; use less\.$"), within_memory("use less"):
        attempt()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes cannot be multiplied"),
        ValueError("out of memory"),
        OSError(errno.ENOSPC, "full"),
        KeyError(),
    ],
)
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), within_memory("use less"):
        raise error


def test_an_error_of_ours_is_left_alone() -> None:
    with pytest.raises(RunError, match=r"^out of memory on cpu$"), within_memory("use less"):
        raise RunError("out of memory on cpu")


def test_the_library_and_the_command_line_say_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("thawline.api.read_named", lambda *_, **__: bytearray(MUCH))
    with pytest.raises(TooLittleMemoryError, match=r"^out of memory; free some memory"):
        thawline.check(tmp_path)
    monkeypatch.setattr("sys.argv", ["thawline", "check", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("thawline: out of memory; free some memory")


def test_a_network_that_needs_too_much_is_not_called_one_that_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy(torch.nn.Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.empty(MUCH)

    with pytest.raises(TooLittleMemoryError), within_memory("use less"):
        forward_blank_image(Greedy(2, 2), 8)
    monkeypatch.setattr("timm.create_model", lambda *_, **__: bytearray(MUCH))
    with pytest.raises(TooLittleMemoryError, match=r"^out of memory"):
        thawline.inspect("test_vit")


class FakeC:
    """A C library that notes its calls, and refuses values above `most`."""

    def __init__(self, most: int = 2**31) -> None:
        self.calls: list[tuple[int, int]] = []
        self.most = most

    def mallopt(self, option: int, value: int) -> int:
        self.calls.append((option, value))
        return int(option == -1 or value <= self.most)


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, [-3, -1]),
        ({"MALLOC_TRIM_THRESHOLD_": "1000"}, [-3]),
        ({"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1000"}, []),
    ],
)
def test_freed_memory_is_kept_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], options: list[int]
) -> None:
    library = FakeC()
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: library)
    keep_freed_memory()
    assert [option for option, _ in library.calls] == options


@pytest.mark.parametrize(("most", "calls"), [(2**25, [2**30, 2**25, 2**31 - 1]), (0, [2**30, 2**25])])
def test_an_older_glibc_gets_what_it_takes_or_keeps_its_defaults(
    monkeypatch: pytest.MonkeyPatch, most: int, calls: list[int]
) -> None:
    library = FakeC(most)
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: library)
    keep_freed_memory()
    assert [value for _, value in library.calls] == calls


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    keep_freed_memory()
