from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from thawline.config import Preprocessing
from thawline.data.check import check
from thawline.data.pixels import build_pixels
from thawline.data.sources import read_images
from thawline.errors import DataError

if TYPE_CHECKING:
    from tests.data.conftest import MakeFolder


def test_a_clean_folder_has_nothing_to_report(make_folder: MakeFolder) -> None:
    found = check(read_images(make_folder({"a": 12, "b": 12})))
    assert found.warnings == ()
    assert found.class_counts == {"a": 12, "b": 12}
    assert len(set(found.hashes)) == 24
    found.require_readable()


def test_copies_contradictions_and_leaks(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 12, "train/b": 12, "test/a": 12})
    shutil.copy(root / "train/a/000.png", root / "train/a/copy.png")
    shutil.copy(root / "train/a/001.png", root / "train/b/other.png")
    shutil.copy(root / "train/b/002.png", root / "test/a/leak.png")
    found = check(read_images(root))
    assert [sorted((one.labels, one.splits)) for one in found.duplicates] == [
        sorted((("a", "b"), ("train", "test"))),
        sorted((("a",), ("train",))),
        sorted((("a", "b"), ("train",))),
    ]
    assert len(found.contradictions) == 2
    assert len(found.leaks) == 1
    written = json.loads(json.dumps(found.to_dict()))
    assert written["duplicates"][0] == {
        "paths": ["test/a/leak.png", "train/b/002.png"],
        "labels": ["a", "b"],
        "splits": ["train", "test"],
    }
    assert written["given_splits"] == {"train": 26, "test": 13}


def test_unreadable_files_are_listed_with_their_reasons(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b": 3})
    (root / "a/000.png").write_text("text")
    (root / "b/001.png").write_bytes((root / "b/001.png").read_bytes()[:60])
    found = check(read_images(root))
    listed = found.to_dict()["unreadable"]
    assert [one["path"] for one in listed] == ["a/000.png", "b/001.png"]
    assert listed[0]["reason"] == "cannot be read as an image (no image format that Pillow knows)"
    assert found.class_counts == {"a": 2, "b": 2}
    with pytest.raises(DataError, match=r"2 of 6 images cannot be used, first .*a/000\.png"):
        found.require_readable()


def test_small_classes_and_imbalance(make_folder: MakeFolder) -> None:
    found = check(read_images(make_folder({"few": 2, "many": 30})))
    assert found.imbalance == 15
    assert found.warnings == (
        "1 class(es) have fewer than 10 images: 'few'.",
        "The largest class has 15 times as many images as the smallest.",
    )


def test_what_the_pixel_store_found_is_not_looked_for_again(
    make_folder: MakeFolder, tmp_path: Path, preprocessing: Preprocessing
) -> None:
    images = read_images(make_folder({"a": 3, "b": 3}))
    store = build_pixels(images.paths, preprocessing, cache=tmp_path / "cache")
    calls: list[object] = []
    again = check(images, facts=store.facts, progress=lambda *done: calls.append(done))
    assert again == check(images)
    assert calls == []
