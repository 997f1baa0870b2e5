from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from thawline.config import DataConfig
from thawline.data.check import check
from thawline.data.sources import read_images
from thawline.data.splits import draw_splits
from thawline.errors import DataError

if TYPE_CHECKING:
    from tests.data.conftest import MakeFolder


def _write(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_table(make_folder: MakeFolder) -> None:
    root = make_folder({"pictures": 4})
    outside = root.parent / "elsewhere.png"
    outside.write_bytes((root / "pictures/003.png").read_bytes())
    table = _write(
        root, f"path,label\npictures/000.png,cat\npictures/001.png,dog\n./pictures/002.png,cat\n{outside},dog\n"
    )
    images = read_images(table)
    assert images.classes == ("cat", "dog")
    names = {images.name(item): item.label for item in images.items}
    assert names == {
        "pictures/000.png": "cat",
        "pictures/001.png": "dog",
        "pictures/002.png": "cat",
        outside.as_posix(): "dog",
    }
    assert check(images).unreadable == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "Image Path,Class,Subset,Group-ID\na.png,x,train,1\nb.png,y,Valid,2\nc.png,y,train,\n"),
        ("t.csv", "\ufefffile_name;label;split;group\r\na.png;x;train;1\r\nb.png;y;val;2\r\nc.png;y;train;\r\n"),
        ("T.TSV", "group\tsplit\tlabel\timage\n1\ttrain\tx\ta.png\n2\tvalidation\ty\tb.png\n\n\ttrain\ty\tc.png\n"),
        ("t.csv", 'path, label, split, group\n"a.png", x , train, 1\nb.png, y, val, 2\nc.png, "y", train,\n'),
    ],
)
def test_column_names_and_separators_vary(tmp_path: Path, name: str, text: str) -> None:
    images = read_images(_write(tmp_path, text, name))
    rows = [(item.path.name, item.label, item.split, item.group) for item in images.items]
    assert rows == [("a.png", "x", "train", "1"), ("b.png", "y", "val", "2"), ("c.png", "y", "train", None)]
    assert images.classes == ("x", "y")
    assert images.notes == ("val has no images of class 'x'",)


def test_labels_stay_text_and_columns_not_used_are_named(tmp_path: Path) -> None:
    images = read_images(_write(tmp_path, "path,label,weight\na.png,10,1\nb.png,2,1\nc.png,02,1\n"))
    assert images.classes == ("02", "10", "2")
    assert images.notes == ("columns not used: 'weight'",)


def test_quotes_commas_and_line_breaks_in_names(tmp_path: Path) -> None:
    images = read_images(_write(tmp_path, 'path,label\n"a ""b"", c.png","x, y"\n"line\nbreak.png",z\n'))
    assert [(item.path.name, item.label) for item in images.items] == [
        ('a "b", c.png', "x, y"),
        ("line\nbreak.png", "z"),
    ]


def test_a_missing_file_is_listed_like_an_unreadable_one(tmp_path: Path) -> None:
    found = check(read_images(_write(tmp_path, "path,label\ngone.png,a\nlost.png,b\n")))
    assert found.result().unreadable[0].to_dict() == {
        "path": "gone.png",
        "reason": "cannot be opened (No such file or directory)",
    }


def test_splits_of_the_table_are_kept(make_folder: MakeFolder) -> None:
    root = make_folder({"p": 8})
    lines = [f"p/{number:03}.png,{'ab'[number % 2]},{'train' if number < 6 else 'test'}" for number in range(8)]
    images = read_images(_write(root, "path,label,split\n" + "\n".join(lines)))
    splits = draw_splits(images, check(images).hashes, DataConfig())
    assert [splits.assignment[number] for number in (6, 7)] == ["test", "test"]
    assert splits.assignment.count("val") == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no path column: the header must contain one of path, file"),
        ("a.png,cat\nb.png,dog\n", "has no path column"),
        ("path,color\na.png,red\n", "has no label column"),
        ("path,image,label\na.png,a.png,x\n", "the columns 'path' and 'image' both mean the path"),
        ("path,label\na.png,x\nb.png\n", "line 3, has 1 cells, but the header has 2"),
        ("path,label\na.png,\n", "line 2, has no label"),
        ("path,label\n,x\n", "line 2, has no path"),
        ("path,label,split\na.png,x,fourth\nb.png,y,train\n", "line 2, has the split 'fourth'"),
        ("path,label,split\na.png,x,train\nb.png,y,\n", "some images have a split and others do not"),
        ("path,label\n", "contains no images"),
        ("path,label\na.png,x\nb.png,x\n", "only one class"),
        ("path,label,split\na.png,x,train\nb.png,y,train\nc.png,z,test\n", "test has class 'z' that train lacks"),
        ('path,label\n"a.png,x\n', "line 2: malformed CSV"),
    ],
)
def test_a_table_that_cannot_be_used_gets_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError) as error:
        read_images(_write(tmp_path, text))
    assert words in str(error.value)
    assert "table.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"path,label\n\xff\xfe\x00,x\n")
    with pytest.raises(DataError, match="must be a UTF-8 text file"):
        read_images(tmp_path / "t.csv")
