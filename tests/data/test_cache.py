from __future__ import annotations

import os
from pathlib import Path

import pytest

from thawline.data import cache as folder
from thawline.errors import DataError


def _add(cache: Path, key: str, size: int = 100) -> Path:
    with folder.building(cache) as new:
        (new / "content").write_bytes(bytes(size))
        return folder.publish(new, cache, key)


def test_an_entry_appears_whole(tmp_path: Path) -> None:
    assert folder.find(tmp_path, "a") is None
    entry = _add(tmp_path, "a")
    assert folder.find(tmp_path, "a") == entry
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_faster_of_two_processes_wins(tmp_path: Path) -> None:
    first = _add(tmp_path, "a", 1)
    assert _add(tmp_path, "a", 2) == first
    assert (first / "content").stat().st_size == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    entries = {name: _add(tmp_path, name) for name in "abcd"}
    for age, name in enumerate("dcba"):
        os.utime(entries[name], (1000 - age, 1000 - age))
    folder.find(tmp_path, "a")  # used now
    assert folder.prune(tmp_path, 300, keep=entries["b"]) == [entries["c"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "d"]


def test_the_entry_in_use_stays_whatever_the_limit(tmp_path: Path) -> None:
    keep, other = _add(tmp_path, "keep"), _add(tmp_path, "other")
    assert folder.prune(tmp_path, 0, keep=keep) == [other]
    assert keep.is_dir()


def test_builds_that_were_killed_are_removed_after_a_day(tmp_path: Path) -> None:
    keep = _add(tmp_path, "keep")
    old, new = tmp_path / ".building-old", tmp_path / ".building-new"
    for build in (old, new):
        build.mkdir()
        (build / "content").write_bytes(b"half")
    for path in (old, old / "content"):
        os.utime(path, (1000, 1000))
    assert folder.prune(tmp_path, 10**9, keep=keep) == [old]
    assert new.is_dir()


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No space left on device"), folder.building(tmp_path):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
