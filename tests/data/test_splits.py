from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from thawline.config import DataConfig
from thawline.data.check import check
from thawline.data.groups import copies_of_one_image
from thawline.data.layout import Split
from thawline.data.sources import ImageSet, Item, image_set, read_images
from thawline.data.splits import Splits, draw_splits, nested_subset, spread_evenly
from thawline.errors import DataError, RunFolderError
from thawline.runs.files import read_splits, write_splits
from thawline.runs.setup import split_lines
from thawline.sums import SUMS_FILE

if TYPE_CHECKING:
    from tests.data.conftest import MakeFolder


def make_set(counts: Mapping[Any, int], split: Split | None = None) -> ImageSet:
    """An image set that exists on paper only: {"cat": 5}, or {("cat", "train"): 5}."""
    items = []
    for key, count in counts.items():
        label, given = key if isinstance(key, tuple) else (key, split)
        items += [Item(Path(f"/data/{given or ''}/{label}/{number:04}.png"), label, given) for number in range(count)]
    return image_set(Path("/data"), items)


def different(images: ImageSet) -> list[str]:
    return [str(number) for number in range(len(images.items))]


def counts_of(images: ImageSet, splits: Splits) -> Counter[Any]:
    return Counter((item.label, split) for item, split in zip(images.items, splits.assignment, strict=True))


def test_sixty_twenty_twenty_in_every_class() -> None:
    images = make_set({"a": 100, "b": 50, "c": 7})
    counts = counts_of(images, draw_splits(images, different(images), DataConfig()))
    assert [counts["a", split] for split in ("train", "val", "test")] == [60, 20, 20]
    assert [counts["b", split] for split in ("train", "val", "test")] == [30, 10, 10]
    assert [counts["c", split] for split in ("train", "val", "test")] == [5, 1, 1]


@pytest.mark.parametrize("count", range(3, 12))
def test_every_class_is_in_every_split(count: int) -> None:
    images = make_set({"big": 500, "small": count})
    counts = counts_of(images, draw_splits(images, different(images), DataConfig()))
    assert all(counts["small", split] >= 1 for split in ("train", "val", "test"))


def test_the_seed_decides_and_other_classes_do_not() -> None:
    images = make_set({"a": 30, "b": 30})
    draw = [draw_splits(images, different(images), DataConfig(seed=seed)).assignment for seed in (0, 0, 1)]
    assert draw[0] == draw[1] != draw[2]
    alone = make_set({"a": 30, "z": 4})
    assert draw_splits(alone, different(alone), DataConfig()).assignment[:30] == draw[0][:30]


@pytest.mark.parametrize("seed", range(5))
def test_copies_come_into_one_split_and_contradictions_train(seed: int) -> None:
    images = make_set({"a": 20, "b": 20})
    hashes = different(images)
    hashes[1] = hashes[2] = hashes[0]
    hashes[25] = hashes[10]  # the same image under a and under b
    assignment = draw_splits(images, hashes, DataConfig(seed=seed)).assignment
    assert len({assignment[index] for index in (0, 1, 2)}) == 1
    assert assignment[10] == assignment[25] == "train"


def test_given_splits_stay() -> None:
    images = make_set({(label, split): 5 for label in "ab" for split in ("train", "val", "test")})
    splits = draw_splits(images, different(images), DataConfig())
    assert splits.assignment == tuple(item.split for item in images.items)
    assert splits.has_test
    assert splits.notes == ()
    assert np.array_equal(splits.indices("val"), np.flatnonzero([item.split == "val" for item in images.items]))


def test_train_alone_is_split_as_if_nothing_were_given() -> None:
    images = make_set({"a": 10, "b": 10}, split="train")
    counts = counts_of(images, draw_splits(images, different(images), DataConfig()))
    assert [counts["a", split] for split in ("train", "val", "test")] == [6, 2, 2]


def test_train_and_test_given_val_is_a_fifth_of_train() -> None:
    images = make_set({("a", "train"): 10, ("b", "train"): 20, ("a", "test"): 3, ("b", "test"): 3})
    splits = draw_splits(images, different(images), DataConfig())
    counts = counts_of(images, splits)
    assert [counts["a", split] for split in ("train", "val", "test")] == [8, 2, 3]
    assert [counts["b", split] for split in ("train", "val", "test")] == [16, 4, 3]
    assert splits.notes == ("val is drawn from train: 20% of each class.",)


def test_without_a_test_split_there_is_none_unless_asked_for() -> None:
    images = make_set({(label, split): 10 for label in "ab" for split in ("train", "val")})
    assert not draw_splits(images, different(images), DataConfig()).has_test
    splits = draw_splits(images, different(images), DataConfig(test_share=0.3))
    counts = counts_of(images, splits)
    assert [counts["a", split] for split in ("train", "val", "test")] == [7, 10, 3]


def test_copies_across_given_splits_leave_the_weaker_split() -> None:
    images = make_set({(label, split): 4 for label in "ab" for split in ("train", "val", "test")})
    hashes = different(images)
    where = {images.name(item): index for index, item in enumerate(images.items)}
    hashes[where["train/a/0000.png"]] = hashes[where["test/a/0001.png"]]
    hashes[where["val/a/0002.png"]] = hashes[where["test/a/0001.png"]]
    hashes[where["train/b/0003.png"]] = hashes[where["val/a/0000.png"]]
    splits = draw_splits(images, hashes, DataConfig())
    left_out = {images.name(images.items[i]) for i, split in enumerate(splits.assignment) if split is None}
    assert left_out == {"train/a/0000.png", "val/a/0002.png", "train/b/0003.png"}
    assert splits.notes[0].startswith("3 images left out because exact copies of them are in val or test: ")
    kept = [index for index, split in enumerate(splits.assignment) if split]
    for same in copies_of_one_image([hashes[index] for index in kept]):
        assert len({splits.assignment[kept[index]] for index in same}) == 1


def test_skipped_images_are_in_no_split() -> None:
    images = make_set({"a": 10, "b": 10})
    splits = draw_splits(images, different(images), DataConfig(), skip=[3, 4])
    assert [index for index, split in enumerate(splits.assignment) if split is None] == [3, 4]


@pytest.mark.parametrize(("count", "copies", "skip"), [(2, 0, ()), (4, 1, (0,)), (4, 2, ())])
def test_a_class_that_cannot_be_split_is_named(count: int, copies: int, skip: tuple[int, ...]) -> None:
    images = make_set({"rare": count, "usual": 10})
    hashes = different(images)
    hashes[: copies + 1] = [hashes[0]] * (copies + 1)
    with pytest.raises(
        DataError, match=r"class 'rare' has only 2 distinct .* at least 3, one each for train, test and val"
    ):
        draw_splits(images, hashes, DataConfig(), skip=[count - 1] if skip else [])


def test_a_class_whose_training_images_are_all_in_test_is_named() -> None:
    images = make_set({(label, split): 1 for label in "ab" for split in ("train", "val", "test")})
    hashes = different(images)
    where = {images.name(item): index for index, item in enumerate(images.items)}
    hashes[where["train/a/0000.png"]] = hashes[where["test/a/0000.png"]]
    with pytest.raises(DataError, match="class 'a' has no usable training images"):
        draw_splits(images, hashes, DataConfig())


def test_a_test_share_that_leaves_no_training_images() -> None:
    images = make_set({"a": 10, "b": 10})
    with pytest.raises(DataError, match=r"`test_share` 0\.9 leaves no training images"):
        draw_splits(images, different(images), DataConfig(test_share=0.9))


def test_the_file_reads_back(make_folder: MakeFolder, tmp_path: Path) -> None:
    names = ['a, "b"', "line\nbreak", "قطة 🌵"]
    images = read_images(make_folder(dict.fromkeys(names, 4)))
    splits = draw_splits(images, different(images), DataConfig(), skip=[0])
    path = tmp_path / "splits.csv"
    write_splits(path, split_lines(images, splits))
    assert path.read_text(encoding="utf-8").startswith("path,label,split\n")
    assert read_splits(path) == split_lines(images, splits)
    path.write_text("path,label\na.png,a\n", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"splits\.csv has changed since it was written"):
        read_splits(path)
    (tmp_path / SUMS_FILE).unlink()
    with pytest.raises(RunFolderError, match=r"splits\.csv is damaged: expected the columns path, label, split"):
        read_splits(path)


@pytest.mark.slow
def test_flowers_contradictions_train(shared: Path) -> None:
    images = read_images(shared / "data" / "flowers5")
    found = check(images, threads=2)
    splits = draw_splits(images, found.hashes, DataConfig())
    assert len(found.duplicates) == 6
    assert len(found.contradictions) == 4
    assert {splits.assignment[index] for copies in found.contradictions for index in copies.positions} == {"train"}
    assert all(len({splits.assignment[index] for index in copies.positions}) == 1 for copies in found.duplicates)


@pytest.mark.parametrize(("limit", "advice"), [(None, "add images or"), (10, "raise `limit`, add images or")])
def test_too_few_images_of_a_class(limit: int | None, advice: str) -> None:
    images = make_set({"a": 30, "b": 2})
    with pytest.raises(
        DataError, match=f"class 'b' has only 2 distinct readable images, but needs at least 3, .*{advice}"
    ):
        draw_splits(images, different(images), DataConfig(limit=limit))


def test_a_smaller_subset_is_part_of_every_larger_one_and_all_are_stratified() -> None:
    strata = np.repeat([0, 1, 2, 3], [500, 300, 199, 1])
    subsets = [set(nested_subset(strata, size, seed=3).tolist()) for size in range(4, 1000)]
    for size, (smaller, larger) in enumerate(pairwise(subsets), start=4):
        assert len(smaller) == size
        assert smaller < larger
    for size in (20, 100, 777):
        counts = np.bincount(strata[nested_subset(strata, size, seed=3)])
        assert counts == pytest.approx([size * 0.5, size * 0.3, size * 0.199, 1], abs=2)
    assert nested_subset(strata, 2000, seed=3).tolist() == list(range(1000))
    assert len(nested_subset(strata, 1, seed=3)) == 4, "every stratum has one"
    assert nested_subset(strata, 100, seed=3).tolist() == nested_subset(strata, 100, seed=3).tolist()
    assert nested_subset(strata, 100, seed=3).tolist() != nested_subset(strata, 100, seed=4).tolist()


def test_every_stretch_of_an_even_order_has_each_stratum_in_its_share() -> None:
    strata = np.repeat([0, 1, 2], [600, 300, 100])
    order = spread_evenly(strata, np.random.default_rng(0))
    assert sorted(order) == list(range(1000))
    for start in range(0, 1000, 50):
        assert np.bincount(strata[order[start : start + 50]], minlength=3) == pytest.approx([30, 15, 5], abs=2)
    assert order.tolist() != spread_evenly(strata, np.random.default_rng(1)).tolist()
