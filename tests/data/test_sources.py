from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from thawline.data.sources import find_images, read_images
from thawline.errors import DataError

if TYPE_CHECKING:
    from tests.data.conftest import MakeFolder


def test_class_folders_in_code_point_order(make_folder: MakeFolder) -> None:
    root = make_folder({"10": 2, "2": 1, "b": 1, "B": 1})
    images = read_images(root)
    assert images.classes == ("10", "2", "B", "b")
    assert [(images.name(item), item.label, item.split) for item in images.items[:2]] == [
        ("10/000.png", "10", None),
        ("10/001.png", "10", None),
    ]
    assert images.targets == (0, 0, 1, 2, 3)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders(make_folder: MakeFolder, val: str) -> None:
    images = read_images(make_folder({"train/cat": 2, "train/dog": 1, f"{val}/cat": 1, "test/dog": 1}))
    assert images.classes == ("cat", "dog")
    assert [item.split for item in images.items].count("train") == 3
    assert {item.split for item in images.items} == {"train", "val", "test"}
    assert images.notes == ("val has no images of class 'dog'", "test has no images of class 'cat'")


def test_folders_inside_a_class_folder_belong_to_it(make_folder: MakeFolder) -> None:
    images = read_images(make_folder({"cat/outdoors/day": 1, "cat": 1, "dog/a": 1}))
    assert [item.label for item in images.items] == ["cat", "cat", "dog"]


def test_a_class_may_be_called_train(make_folder: MakeFolder) -> None:
    assert read_images(make_folder({"bus": 1, "car": 1, "train": 1})).classes == ("bus", "car", "train")


def test_a_class_called_train_with_folders_in_it(make_folder: MakeFolder) -> None:
    assert read_images(make_folder({"bus/day": 1, "train/day": 1})).classes == ("bus", "train")


def test_folders_beside_the_splits_are_listed(make_folder: MakeFolder) -> None:
    images = read_images(make_folder({"train/a": 1, "train/b": 1, "val/a": 1, "raw": 2, "extra/x": 1}))
    assert images.classes == ("a", "b")
    assert [entry.reason for entry in images.ignored] == ["outside the train, val and test folders"] * 3
    assert images.notes[0] == "2 folders next to the split folders not used: 'extra', 'raw'"


@pytest.mark.parametrize(
    "name", ["..foo", "..\\..\\x", "a b", "🌵", "<script>alert(1)", "قطة", "a'b\"c", "line\nbreak"]
)
def test_class_names_are_just_strings(make_folder: MakeFolder, name: str) -> None:
    images = read_images(make_folder({name: 1, "zzz": 1}))
    assert name in images.classes


def test_one_name_in_two_unicode_forms_is_one_class(make_folder: MakeFolder) -> None:
    images = read_images(make_folder({"train/caf\u00e9": 1, "train/tea": 1, "val/cafe\u0301": 1}))
    assert images.classes == ("caf\u00e9", "tea")


def test_loose_files_and_empty_class_folders_are_listed(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 1, "b": 1, "empty": 0})
    (root / "a" / "notes.txt").write_text("no image")
    (root / "loose.PNG").write_bytes((root / "a" / "000.png").read_bytes())
    ignored = {entry.path.name: entry.reason for entry in read_images(root).ignored}
    assert ignored == {
        "notes.txt": "not a supported image format (by its extension)",
        "loose.PNG": "outside the class folders",
        "empty": "a class folder without images",
    }


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "does not exist"),
        ({"a": 0}, "contains no images"),
        ({"a": 3}, "only one class, 'a'"),
        ({"train/a": 1, "train/b": 1, "val/c": 1}, "val has class 'c' that train lacks"),
        ({"val/a": 1, "test/a": 1}, "no train folder"),
        ({"train": 2, "test": 2}, "no train folder with one subfolder of images per class"),
        ({"train/a": 1, "train/b": 1, "val/a": 1, "valid/a": 1}, "two folders for the same split"),
    ],
)
def test_unusable_folders_get_one_line(make_folder: MakeFolder, counts: dict[str, int], words: str) -> None:
    with pytest.raises(DataError) as error:
        read_images(make_folder(counts))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="is a file"):
        read_images(tmp_path / "x.jpg")


def test_images_without_class_folders(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match="no images in class folders"):
        read_images(make_folder({".": 3}))


def test_find_images_takes_files_and_folders_once(make_folder: MakeFolder) -> None:
    root = make_folder({"b": 2, "a": 1})
    odd = root / "photo.unknown"
    odd.write_bytes((root / "a" / "000.png").read_bytes())
    found, ignored = find_images([root / "b", root / "b" / "001.png", root / "a", odd])
    assert [path.relative_to(root).as_posix() for path in found] == [
        "a/000.png",
        "b/000.png",
        "b/001.png",
        "photo.unknown",
    ]
    assert ignored == []


def test_find_images_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg' does not exist"):
        find_images([tmp_path / "gone.jpg"])
    with pytest.raises(DataError, match="no images found"):
        find_images([Path(tmp_path)])
