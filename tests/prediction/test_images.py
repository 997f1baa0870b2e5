"""What `predict` takes: files, folders, tables and lists."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.prediction.conftest import photo
from thawline.data.walk import Ignored
from thawline.errors import DataError
from thawline.prediction.images import image_files


def test_files_folders_tables_and_lists_come_once_and_sorted(photos: Path) -> None:
    (photos / "0" / "notes.md").write_text("no image")
    table = photos.parent / "some.csv"
    table.write_text("site;image\nx;photos/0/00.png\ny;photos/1/01.png\n")
    listed = photos.parent / "some.txt"
    listed.write_text("photos/1/01.png\n\nphotos/1/03.png\nphotos/gone.png\n")
    (photos.parent / "some.tsv").write_text("path\tlabel\nphotos/1/05.png\tx\n")
    found, ignored = image_files([photos / "0", listed, table, photos.parent / "some.tsv", photos / "0" / "02.png"])
    expected = [*sorted((photos / "0").glob("*.png")), *(photos / "1" / f"0{at}.png" for at in (1, 3, 5))]
    assert found == [*map(str, expected), str(photos / "gone.png")]
    assert ignored == [Ignored(photos / "0" / "notes.md", "not a supported image format (by its extension)")]


def test_a_table_without_paths_a_missing_file_and_nothing_at_all_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("label,score\nx,1\n")
    (tmp_path / "cut.csv").write_text("path,label\nx\n")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match=r"odd\.csv' has no path column"):
        image_files([tmp_path / "odd.csv"])
    with pytest.raises(DataError, match=r"cut\.csv', line 2, has 1 cells, but the header has 2"):
        image_files([tmp_path / "cut.csv"])
    with pytest.raises(DataError, match=r"gone\.csv' does not exist"):
        image_files([tmp_path / "gone.csv"])
    with pytest.raises(DataError, match=r"^no images found: pass image files, folders, or a table"):
        image_files([tmp_path / "empty.txt"])


def test_names_of_formulas_in_a_table_are_read_as_they_were_written(tmp_path: Path) -> None:
    photo(tmp_path / "=1.png", 0)
    (tmp_path / "some.csv").write_text("path\n'=1.png\n")
    assert image_files([tmp_path / "some.csv"])[0] == [str(tmp_path / "=1.png")]


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt"])
def test_a_list_that_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path, ending: str) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / f"pipe.{ending}")
    with pytest.raises(DataError, match=r"cannot be read \(.*not a regular file"):
        image_files([tmp_path / f"pipe.{ending}"])


def test_a_carriage_return_inside_a_name_in_a_list_is_kept(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_bytes(b"a\rb.png\r\nc.png\r\n\r\nd.png")
    assert image_files([tmp_path / "some.txt"])[0] == [str(tmp_path / name) for name in ("a\rb.png", "c.png", "d.png")]
