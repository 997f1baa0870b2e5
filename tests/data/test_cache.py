from __future__ import annotations

import errno
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from thawline.data import cache as folder
from thawline.errors import DataError


def _add(cache: Path, key: str, size: int = 100) -> Path:
    with folder.building(cache) as new:
        (new / "content").write_bytes(b"c" * size)
        return folder.publish(new, cache, key)


def _find(cache: Path, key: str, note: folder.Note = pytest.fail) -> Path | None:
    """The entry's folder; a note fails the test, unless it is asked for."""
    return folder.read(cache, key, lambda entry: entry, note)


def _seal_size(cache: Path) -> int:
    return (cache / "a" / folder.SEAL).stat().st_size


def test_an_entry_appears_whole(tmp_path: Path) -> None:
    assert _find(tmp_path, "a") is None
    entry = _add(tmp_path, "a")
    assert _find(tmp_path, "a") == entry
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
    assert _find(tmp_path, "a")  # used now
    assert folder.prune(tmp_path, 3 * (100 + _seal_size(tmp_path)), keep=entries["b"]) == [entries["c"]]
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


@pytest.mark.parametrize(
    ("number", "reason", "advice"),
    [
        (errno.ENOSPC, "No space left on device", "; free some space, or set THAWLINE_CACHE to another folder."),
        (errno.EACCES, "Permission denied", "; change its permissions, or set THAWLINE_CACHE to another folder."),
        (errno.EROFS, "Read-only file system", "; make its disk writable, or set THAWLINE_CACHE to another folder."),
    ],
)
def test_the_advice_fits_the_error(tmp_path: Path, number: int, reason: str, advice: str) -> None:
    with pytest.raises(DataError, match=reason) as caught, folder.building(tmp_path):
        raise OSError(number, reason)
    assert str(caught.value).endswith(advice)
    assert ("free some space" in str(caught.value)) is (number == errno.ENOSPC)
    assert list(tmp_path.iterdir()) == []


def _replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "one bit": _flip,
    "pickled": lambda path: path.write_bytes(pickle.dumps({"files": {}})),
    "foreign JSON": lambda path: path.write_text("[1, 2]", encoding="utf-8"),
    "deep JSON": lambda path: path.write_text("[" * 100_000, encoding="utf-8"),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe{"),
    "a number of 5,000 digits": lambda path: path.write_text('{"key": ' + "9" * 5_000 + "}", encoding="utf-8"),
    "a folder": _replace_by(Path.mkdir),
    "a pipe": _replace_by(os.mkfifo),
    "a link to a device": _replace_by(lambda path: path.symlink_to("/dev/zero")),
    "a link that leads nowhere": _replace_by(lambda path: path.symlink_to(path.name)),
}


@pytest.mark.parametrize("name", ["content", folder.SEAL])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_does_not_match_its_seal_is_not_an_entry(tmp_path: Path, name: str, damage: str) -> None:
    DAMAGE[damage](_add(tmp_path, "a") / name)
    notes: list[str] = []
    assert _find(tmp_path, "a", notes.append) is None
    (note,) = notes
    assert note.startswith(f"The cache entry {str(tmp_path / 'a')!r} is damaged (")
    assert "\n" not in note
    assert list(tmp_path.iterdir()) == []
    assert _find(tmp_path, "a") is None
    assert _find(tmp_path, _add(tmp_path, "a").name) == tmp_path / "a"


@pytest.mark.parametrize("files", ['{"content": 5}', '{"../content": "x"}', "[]", "null", '"content"', "{}"])
def test_a_seal_that_is_valid_json_but_not_ours(tmp_path: Path, files: str) -> None:
    entry = _add(tmp_path, "a")
    (entry / folder.SEAL).write_text(f'{{"key": "b", "files": {files}}}', encoding="utf-8")
    notes: list[str] = []
    assert _find(tmp_path, "a", notes.append) is None
    assert len(notes) == 1


def test_an_entry_under_the_name_of_another_is_not_used(tmp_path: Path) -> None:
    _add(tmp_path, "a", 1)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    notes: list[str] = []
    assert _find(tmp_path, "b", notes.append) is None
    assert "its seal has another key" in notes[0]
    assert _find(tmp_path, "a")


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere"), os.mkfifo])
def test_whatever_has_the_name_of_an_entry_makes_way(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "a")
    notes: list[str] = []
    assert _find(tmp_path, "a", notes.append) is None
    assert len(notes) == 1
    make(tmp_path / "a")  # as if it had come back while the entry was built
    assert _find(tmp_path, _add(tmp_path, "a").name) == tmp_path / "a"


def test_what_parse_cannot_read_is_not_an_entry(tmp_path: Path) -> None:
    _add(tmp_path, "a")
    notes: list[str] = []
    known: dict[Path, str] = {}
    assert folder.read(tmp_path, "a", known.__getitem__, notes.append) is None
    assert len(notes) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_entry_makes_way_for_a_new_one(tmp_path: Path) -> None:
    first = _add(tmp_path, "a", 1)
    (first / "content").write_bytes(b"damaged")
    assert (_add(tmp_path, "a", 2) / "content").read_bytes() == b"cc"


def test_the_digest_is_that_of_what_was_meant_to_be_written(tmp_path: Path) -> None:
    with folder.building(tmp_path) as new, (new / "content").open("wb") as stream:
        writer = folder.DigestWriter(stream)
        writer.write(b"whole")
        stream.truncate(2)  # a disk that loses what it was given
        stream.close()
        folder.publish(new, tmp_path, "a", {"content": writer.hexdigest()})
    notes: list[str] = []
    assert _find(tmp_path, "a", notes.append) is None
    assert "content has changed since it was written" in notes[0]


def test_files_reach_the_disk_before_their_entry_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def fsync(handle: int) -> None:
        assert not (tmp_path / "a").exists()
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)

    monkeypatch.setattr(os, "fsync", fsync)
    _add(tmp_path, "a")
    assert {"content", folder.SEAL} <= set(synced)


def test_other_users_may_read_an_entry(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        entry = _add(tmp_path / "cache", "a")
    finally:
        os.umask(before)
    assert entry.stat().st_mode & 0o777 == 0o755
    assert (entry / "content").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("base", ["", "relative/folder", None])
def test_an_empty_or_relative_cache_home_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str | None
) -> None:
    monkeypatch.delenv("THAWLINE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if base is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", base)
    assert folder.user_cache() == tmp_path / ".cache" / "thawline"


def test_an_absolute_cache_home_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THAWLINE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder.user_cache() == tmp_path / "thawline"
