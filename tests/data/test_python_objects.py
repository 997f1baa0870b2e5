"""Python objects give the same kind of data set as folders do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from tests.data.conftest import MakeFolder, Picture
from thawline.data.decode import decode, load
from thawline.data.python_objects import read_dataset, read_pairs
from thawline.data.read import name_of
from thawline.data.sources import read_images
from thawline.errors import DataError


class Rows(Dataset[Any]):
    def __init__(self, *rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


def test_pairs_are_the_same_as_the_folder(make_folder: MakeFolder) -> None:
    folder = read_images(make_folder({"cat": 2, "dog": 2}))
    assert read_pairs([(str(item.path), item.label) for item in reversed(folder.items)]) == folder


def test_pairs_with_splits(make_folder: MakeFolder) -> None:
    folder = read_images(make_folder({"train/cat": 2, "train/dog": 2, "val/cat": 1, "test/dog": 1}))
    by_split = {
        split: [(item.path, item.label) for item in folder.items if item.split == split]
        for split in ("train", "val", "test")
    }
    assert read_pairs(by_split["train"], val=by_split["val"], test=by_split["test"]).items == folder.items


def test_whole_numbers_are_class_names_too(make_folder: MakeFolder) -> None:
    paths = read_images(make_folder({"cat": 1, "dog": 1})).paths
    assert read_pairs([(paths[0], np.int64(7)), (paths[1], 8)]).classes == ("7", "8")  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "is empty"),
        ([("a.png", "x"), "b.png"], r"pair 1 of the list must be a tuple \(path, label\), got 'b.png'"),
        ([(3, "x")], "pair 0"),
        ([("a.png", None)], "pair 0 of the list has the label None"),
        ([("a.png", " ")], "empty label"),
        ([("a.png", "x"), ("b.png", "x")], "'the list of .path, label.' has only one class"),
    ],
)
def test_what_is_no_list_of_pairs(pairs: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_pairs(pairs)


def test_pictures_of_every_kind_are_the_same_picture(tmp_path: Path, picture: Picture) -> None:
    image = picture(0)
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    images = read_dataset(Rows((image, "a"), (array, "b"), (tensor, "c")), tmp_path)
    assert {decode(path).tobytes() for path in images.paths} == {image.tobytes()}


def test_gray_pictures(tmp_path: Path) -> None:
    gray = np.arange(20, dtype=np.uint8).reshape(4, 5)
    given = [gray, gray[..., None], torch.from_numpy(gray), torch.from_numpy(gray)[None]]
    images = read_dataset(Rows(*((image, str(n)) for n, image in enumerate(given))), tmp_path)
    assert {load(path).mode for path in images.paths} == {"L"}
    assert {decode(path).tobytes() for path in images.paths} == {decode(Image.fromarray(gray)).tobytes()}


def test_labels_are_names(tmp_path: Path, picture: Picture) -> None:
    rows = Rows((picture(0), 1), (picture(1), torch.tensor(0)), (picture(2), np.int64(1)))
    assert [item.label for item in read_dataset(rows, tmp_path, classes=["cat", "dog"]).items] == ["dog", "cat", "dog"]
    assert [item.label for item in read_dataset(rows, tmp_path).items] == ["1", "0", "1"]
    rows.classes = ["x", "y"]  # type: ignore[attr-defined]  # as torchvision's data sets have it
    assert read_dataset(rows, tmp_path).classes == ("x", "y")


def test_given_splits_are_kept(tmp_path: Path, picture: Picture) -> None:
    train = Rows((picture(0), "a"), (picture(1), "b"))
    images = read_dataset(train, tmp_path, test=Rows((picture(2), "b")))
    assert [(item.split, item.label) for item in images.items] == [("test", "b"), ("train", "a"), ("train", "b")]


def test_equal_content_is_kept_once(tmp_path: Path, picture: Picture) -> None:
    first = read_dataset(Rows((picture(0), "a"), (picture(1), "b")), tmp_path)
    assert read_dataset(Rows((picture(0), "a"), (picture(1), "b")), tmp_path) == first
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            (torch.zeros(3, 4, 4), 0),
            r"image 0 of the dataset must be a PIL image.*got float32 \(3, 4, 4\); remove its transforms",
        ),
        ((np.zeros((4, 4, 7), np.uint8), 0), r"got uint8 \(4, 4, 7\)"),
        ((np.zeros((0, 4), np.uint8), 0), r"got uint8 \(0, 4\)"),
        (("a.png", 0), "got str"),
        ((Image.new("L", (4, 4)), 2), "has the label 2: labels must be 0 to 1"),
        ((Image.new("L", (4, 4)), -1), "has the label -1"),
        ((Image.new("L", (4, 4)), 0.5), "labels must be strings or integers"),
        ((Image.new("L", (4, 4)),), r"must be a tuple \(image, label\), got tuple"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path: Path, row: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_dataset(Rows(row), tmp_path, classes=["a", "b"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", [10**400, 10**5000, -(10**400)], ids=["400 digits", "5,000 digits", "negative"])
def test_an_endless_label_is_one_line(label: int) -> None:
    with pytest.raises(DataError, match="integer labels must be from") as caught:
        read_pairs([("a.png", label), ("b.png", 1)])  # type: ignore[list-item]
    assert len(str(caught.value)) < 250


class Endless(IterableDataset[object]):
    """Has neither a length nor places."""

    def __iter__(self) -> Iterator[object]:
        yield Image.new("RGB", (8, 8)), 0


@pytest.mark.parametrize("data", [None, 5, 1.5, object(), Endless()])
def test_what_is_no_data_is_one_line(data: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the data must be a folder, a table"):
        name_of(data, tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [{"train": "photos/train", "val": "photos/val"}, {"train": [], "test": Path("test")}])
def test_paths_by_split_are_one_line(data: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pass the folder that holds train, val and test"):
        name_of(data, tmp_path)  # type: ignore[arg-type]
