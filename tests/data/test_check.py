from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from thawline import api
from thawline.config import Preprocessing
from thawline.data.check import check
from thawline.data.layout import Split
from thawline.data.pixels import build_pixels
from thawline.data.sources import read_images
from thawline.errors import DataError, OptionError

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
    assert [sorted((copies.labels, copies.splits)) for copies in found.duplicates] == [
        sorted((("a", "b"), ("train", "test"))),
        sorted((("a",), ("train",))),
        sorted((("a", "b"), ("train",))),
    ]
    assert len(found.contradictions) == 2
    assert len(found.leaks) == 1
    written = json.loads(json.dumps(found.result().to_dict()))
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
    listed = found.result().unreadable
    assert [file.path for file in listed] == ["a/000.png", "b/001.png"]
    assert listed[0].reason == "cannot be read as an image (not an image format that Pillow knows)"
    assert found.class_counts == {"a": 2, "b": 2}
    with pytest.raises(DataError, match=r"2 of 6 images cannot be used; first: .*a/000\.png"):
        found.require_readable()


def test_small_classes_and_imbalance(make_folder: MakeFolder) -> None:
    found = check(read_images(make_folder({"few": 2, "many": 30})))
    assert found.imbalance == 15
    assert found.warnings == (
        "1 class with fewer than 10 images: 'few'.",
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


def test_near_duplicates_across_splits_are_named(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 12, "train/b": 12, "test/a": 10, "test/b": 10})
    Image.open(root / "train/a/000.png").resize((60, 50)).save(root / "test/a/larger.png")
    found = check(read_images(root))
    assert found.duplicates == ()
    assert found.result().to_dict()["lookalikes"] == [
        {"paths": ["test/a/larger.png", "train/a/000.png"], "labels": ["a"], "splits": ["train", "test"]}
    ]
    assert found.warnings == ("1 group of near-duplicates (2 images) across splits: scores may be too high.",)


def test_near_duplicates_that_drawn_splits_separate_are_counted(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 12, "b": 12})
    Image.open(root / "a/000.png").resize((60, 50)).save(root / "a" / "larger.png")
    found = check(read_images(root))
    names = [found.images.name(item) for item in found.images.items]
    assert found.near_duplicates_across(["train"] * len(names)) == ()
    assert found.near_duplicates_across([None if name == "a/larger.png" else "train" for name in names]) == ()
    (line,) = found.near_duplicates_across(["test" if name == "a/larger.png" else "train" for name in names])
    assert line.startswith(
        "1 group of near-duplicates (2 images) across splits: scores may be too high (`group_pattern` keeps"
    )


def test_groups_and_images_are_both_counted(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a": 12, "train/b": 12, "test/a": 10, "test/b": 10})
    for number in range(20):
        Image.open(root / "train/a/000.png").resize((60 + number, 50)).save(root / "test/a" / f"larger {number}.png")
        shutil.copy(root / "train/b/000.png", root / "train/b" / f"copy {number}.png")
    found = check(read_images(root))
    assert found.warnings[:2] == (
        "1 group of near-duplicates (21 images) across splits: scores may be too high.",
        "1 image (21 files) stored more than once with identical bytes.",
    )
    drawn: list[Split | None] = [
        "test" if "larger" in found.images.name(item) else "train" for item in found.images.items
    ]
    assert found.near_duplicates_across(drawn) == ()  # the data gives these splits, nobody drew them


def test_everything_found_is_accounted_for(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b": 3})
    for name in ("1.heic", "2.heic", ".hidden"):
        (root / "a" / name).write_bytes(b"x")
    (root / "b" / "000.png").write_bytes(b"x")
    result = check(read_images(root)).result()
    assert (result.images, len(result.unreadable)) == (6, 1)
    assert result.skipped == {
        "not a supported image format (by its extension)": 2,
        "hidden (its name starts with a dot)": 1,
    }
    assert sum(result.skipped.values()) == len(result.ignored)


@pytest.mark.parametrize(("image_size", "count"), [(8, 0), (64, 0), (224, 1), (4096, 3), (None, 0)])
def test_images_that_a_network_cannot_take_are_found_by_looking(
    make_folder: MakeFolder, preprocessing: Preprocessing, tmp_path: Path, image_size: int | None, count: int
) -> None:
    root = make_folder({"a": 1, "b": 1})
    for number, size in enumerate([(9000, 2), (600, 50), (60, 4)]):
        Image.new("L", size).save(root / "a" / f"strip {number}.png")
    found = check(read_images(root), image_size=image_size)
    assert len(found.narrow) == count
    assert any("too narrow to be resized to" in line for line in found.warnings) is bool(count)
    if image_size == 224:
        paths = [found.images.paths[index] for index in found.narrow]
        with pytest.raises(DataError, match="too narrow"):
            build_pixels(paths, replace(preprocessing, image_size=224), cache=tmp_path / "cache")


def test_formats_modes_sizes_and_oddities_are_counted(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 2, "b": 2})
    Image.new("L", (8, 4), 3).save(root / "a" / "gray.jpg")
    Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4)).save(root / "b" / "deep.png")
    Image.new("RGBA", (100, 90)).save(root / "b" / "alpha.png")
    written = check(read_images(root)).result().to_dict()
    assert written["formats"] == {"PNG": 6, "JPEG": 1}
    assert written["modes"] == {"RGB": 4, "L": 1, "RGBA": 1, "I;16": 1}
    assert written["sizes"] == {"different": 4, "smallest": [4, 3], "largest": [100, 90]}
    assert written["oddities"] == {"16-bit, 32-bit or floating-point": 1, "transparency": 1}


@pytest.mark.thorough
def test_check_looks_with_the_eyes_of_fit(
    make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    root = make_folder({"a": 12, "b": 12})
    Image.effect_noise((900, 3), 90).save(root / "a" / "strip.png")
    assert api.check(root).warnings == []
    for options in (
        {"image_size": 600},
        {"model": "test_vit", "image_size": 600},
        {"model": "test_vit", "crop_pct": 0.1},
    ):
        (line,) = api.check(root, **options).warnings
        assert line.startswith("1 image is too narrow to be resized to")
        with pytest.raises(DataError, match="is too narrow"):
            api.fit(root, tmp_path / "run", **{"model": "test_vit", "weights": "random", **options})  # type: ignore[arg-type]


def test_what_cannot_be_split_is_found(
    make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    root = make_folder({"a": 12, "rare": 1})
    (line,) = (line for line in api.check(root).warnings if line.startswith("Training would reject"))
    with pytest.raises(DataError) as caught:
        api.fit(root, tmp_path / "run", model="test_vit", weights="random", image_size=32)
    assert line == f"Training would reject these images: {caught.value}"
    with pytest.raises(OptionError, match="`image_size` must be"):
        api.check(root, image_size=10**400)
