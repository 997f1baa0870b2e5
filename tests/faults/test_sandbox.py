"""The child in which every trial runs: bounded, kept in its folder, and broken in the way that a trial asks for."""

from __future__ import annotations

import functools
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.faults.hooks import KILLED, Counter, die_at_name, die_at_operation, full_after
from benchmarks.faults.outcomes import failure
from benchmarks.faults.sandbox import WROTE_OUTSIDE, apart, require_temporary


def _failed(said: object) -> int:
    os.write(2, str(said).encode())
    return 5


def _done(act: Callable[[], object]) -> int:
    act()
    return 0


def test_child_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.write_text("kept")
    (inside / "link").symlink_to(tmp_path)
    acts: list[Callable[[], object]] = [
        lambda: outside.write_text("x"),
        lambda: (inside / "link" / "file").write_text("x"),
        lambda: outside.rename(inside / "taken"),
        outside.unlink,
        (tmp_path / "new").mkdir,
        lambda: shutil.rmtree(tmp_path),
    ]
    for act in acts:
        ran = apart(functools.partial(_done, act), inside)
        assert ran.code == WROTE_OUTSIDE
        assert "outside the trial's folder" in ran.said
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["inside", "outside"]
    assert outside.read_text() == "kept"


def test_only_temporary_folders_are_taken(tmp_path: Path) -> None:
    assert require_temporary(tmp_path) == tmp_path.resolve()
    with pytest.raises(ValueError, match="is not below"):
        require_temporary(Path(__file__).parent)


def test_child_is_bounded_in_time_and_memory(tmp_path: Path) -> None:
    def patient() -> int:
        time.sleep(60)
        return 0

    slow = apart(patient, tmp_path, seconds=0.2)
    assert slow.code is None
    verdict = failure(slow)
    assert verdict is not None
    assert verdict.outcome == "hang"

    def hungry() -> int:
        try:
            return len(bytearray(5 << 30))
        except MemoryError as error:
            return _failed(repr(error))

    greedy = apart(hungry, tmp_path)
    assert (greedy.code, greedy.said) == (5, "MemoryError()")


def test_full_disk_takes_what_fits_and_stays_full(tmp_path: Path) -> None:
    def work() -> int:
        try:
            with Path("first").open("w") as stream:
                stream.write("0123456789")
        except OSError as error:
            try:
                Path("second").write_bytes(b"x")
            except OSError as again:
                return _failed([error.errno, again.errno])
        return 0

    ran = apart(work, tmp_path, hook=full_after(4, Counter()))
    assert (ran.code, ran.said) == (5, "[28, 28]")
    assert (tmp_path / "first").read_bytes() == b"0123"
    assert (tmp_path / "second").read_bytes() == b""


def test_counters_reach_the_parent_and_name_the_operation_to_die_at(tmp_path: Path) -> None:
    def work() -> int:
        for name in ("a", "b"):
            Path(f"{name}.new").write_text("text")
            Path(f"{name}.new").rename(name)
        return 0

    operations, written = Counter(), Counter()

    def count() -> None:
        die_at_operation(None, operations)()
        full_after(None, written)()

    assert apart(work, tmp_path, hook=count).code == 0
    assert (operations.value, written.value) == (4, 8)
    for path in tmp_path.glob("?"):
        path.unlink()
    assert apart(work, tmp_path, hook=die_at_operation(3, Counter())).code == KILLED
    assert sorted(path.name for path in tmp_path.glob("[ab]*")) == ["a"]
    assert apart(work, tmp_path, hook=die_at_name("b")).code == KILLED
    assert sorted(path.name for path in tmp_path.glob("[ab]*")) == ["a", "b.new"]
