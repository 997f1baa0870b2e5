from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from thawline.data import facts_cache as remembered
from thawline.data.facts_cache import survey_again
from thawline.data.survey import survey

if TYPE_CHECKING:
    from tests.data.conftest import MakeFolder, Picture


class Reader:
    """Calls `survey_again` and counts the files that were read."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root, self.cache, self.read = root, cache, 0
        self.notes: list[str] = []

    def __call__(self) -> int:
        """Files that were read this time; the facts are checked against a fresh survey."""
        self.read = 0
        paths = sorted(self.root.rglob("*.png"))
        facts = survey_again(paths, root=self.root, cache=self.cache, progress=self._count, note=self.notes.append)
        assert facts == [file.facts for file in survey(paths, threads=1)]
        return self.read

    def _count(self, done: int, total: int) -> None:
        self.read += 1
        assert done == self.read <= total


@pytest.fixture
def reader(make_folder: MakeFolder, tmp_path: Path) -> Reader:
    return Reader(make_folder({"a": 6, "b": 4}), tmp_path / "cache")


def test_only_new_and_changed_files_are_read_again(reader: Reader, picture: Picture) -> None:
    assert reader() == 10
    assert reader() == 0
    picture(77).save(reader.root / "a" / "new.png")
    picture(78, 30, 30).save(reader.root / "b" / "000.png")
    assert reader() == 2
    (reader.root / "a" / "000.png").unlink()
    assert reader() == 0


def test_a_file_of_the_same_size_with_a_new_time_is_read_again(reader: Reader) -> None:
    reader()
    path = reader.root / "a" / "001.png"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(1, 1))
    assert reader() == 1


def test_unreadable_files_are_remembered_with_their_reason(reader: Reader) -> None:
    (reader.root / "a" / "000.png").write_text("no image")
    assert reader() == 10
    assert reader() == 0


def test_another_decoder_remembers_nothing(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    reader()
    monkeypatch.setattr(remembered, "DECODER_VERSION", 999)
    assert reader() == 10


@pytest.mark.parametrize("name", ["facts.json", "seal.json"])
@pytest.mark.parametrize("content", [b"", b"[", b"[]", b"{}", b"null", b"[[1]]", b"\x80\x05N.", b"[" * 100_000])
def test_facts_that_cannot_be_read_are_found_again(reader: Reader, name: str, content: bytes) -> None:
    reader()
    (path,) = reader.cache.glob(f"*/{name}")
    path.write_bytes(content)
    assert reader() == 10
    assert len(reader.notes) == 1
    assert reader() == 0
    assert len(reader.notes) == 1


def test_facts_with_one_digit_changed_are_found_again(reader: Reader) -> None:
    reader()
    (path,) = reader.cache.glob("*/facts.json")
    path.write_text(path.read_text(encoding="utf-8").replace(", 24, 20,", ", 24, 21,", 1), encoding="utf-8")
    assert reader() == 10
    assert len(reader.notes) == 1
