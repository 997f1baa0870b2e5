"""Only regular files are read, and only so much of them: devices and pipes never end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from thawline.data.files import LARGEST_FILE, read_regular

SPECIAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (os.mkfifo, "not a regular file"),
    "an endless device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "an empty device": (lambda path: path.symlink_to("/dev/null"), "not a regular file"),
    "a folder": (Path.mkdir, "Is a directory"),
    "a folder behind a link": (lambda path: path.symlink_to("/"), "Is a directory"),
    "a loop": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "nothing": (lambda path: None, "No such file or directory"),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_not_a_regular_file_is_an_error_and_never_blocks(tmp_path: Path, kind: str) -> None:
    make, reason = SPECIAL[kind]
    make(tmp_path / "x.png")
    with pytest.raises(OSError, match=reason):
        read_regular(tmp_path / "x.png")


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 0 MiB"):
        read_regular(path, 4)


def test_a_file_of_a_terabyte_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(OSError, match="larger than 1,024 MiB"):
        read_regular(path)
    assert LARGEST_FILE == 2**30


def test_files_whose_size_the_system_does_not_know_are_read() -> None:
    assert read_regular(Path("/proc/self/cmdline"))
