"""Only regular files are read, and only so much of them; JSON holds what we could have written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from thawline.reading import LARGEST_FILE, parse_json, read_regular
from thawline.records import write_bytes

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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("1" * 5000, "an integer of 5000 digits"),
        (str(2**64), "an integer of 20 digits"),
        ("-1e400", "beyond the largest number"),
        ("[NaN]", "NaN is not a number"),
        ("-Infinity", "Infinity is not a number"),
        ('{"a": 1, "a": 1}', "occurs twice"),
        (r'["\ud800"]', "surrogates not allowed"),
        (r'{"\udfff": 1}', "surrogates not allowed"),
        (b"\xff\xfe{\x00}\x00", "can't decode"),
        (b"", "Expecting value"),
    ],
    ids=range(12),
)
def test_json_that_nobody_meant_is_an_error(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_json_of_ours_is_read() -> None:
    name = b"bytes \xff".decode("utf-8", "surrogateescape")
    assert parse_json(json.dumps([name, "\U0001f600", 2**63, -1.5, {"a": None}])) == [
        *(name, "\U0001f600", 2**63, -1.5, {"a": None})
    ]


def test_nothing_but_a_file_is_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path()):
        with pytest.raises(OSError, match="Not a regular file"):
            write_bytes(path, b"text")
    assert (tmp_path / "pipe").is_fifo()
