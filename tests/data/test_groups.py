from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from thawline.config import DataConfig
from thawline.data.check import Check
from thawline.data.groups import copies_of_one_image, kept_together, with_groups
from thawline.data.layout import Split
from thawline.data.sources import ImageSet, Item, image_set
from thawline.data.splits import draw_splits
from thawline.data.survey import Facts
from thawline.errors import DataError, OptionError


def _patients(sizes: dict[str, list[int]]) -> ImageSet:
    """Class -> number of images of each of its patients; a patient has one class."""
    return image_set(
        Path("/data"),
        [
            Item(Path(f"/data/{label}/{label}-p{patient:02}-{number:03}.png"), label)
            for label, counts in sizes.items()
            for patient, count in enumerate(counts)
            for number in range(count)
        ],
    )


def _hashes(images: ImageSet) -> list[str]:
    return [str(number) for number in range(len(images.items))]


def test_groups_are_read_off_the_paths() -> None:
    images = _patients({"a": [2, 1], "b": [1]})
    assert [item.group for item in with_groups(images, r"(\w-p\d+)-").items] == ["a-p00", "a-p00", "a-p01", "b-p00"]
    assert [item.group for item in with_groups(images, r"a-p\d+").items] == ["a-p00", "a-p00", "a-p01", None]
    assert with_groups(images, r"a-p\d+").notes == ("1 image not matched by the group pattern, so in no group",)


def test_patterns_that_cannot_be_used() -> None:
    images = _patients({"a": [1], "b": [1]})
    with pytest.raises(OptionError, match=r"`group_pattern` '\(' is not a valid regular expression"):
        with_groups(images, "(")
    with pytest.raises(DataError, match=r"matches no path in '/data', e\.g\. 'a/a-p00-000\.png'"):
        with_groups(images, "camera")


def test_copies_and_groups_link_images_through_each_other() -> None:
    assert copies_of_one_image(["x", "y", "x", "", ""]) == [[0, 2]]
    numbers = kept_together(["x", "y", "x", "z", "", ""], ["g", None, None, "g", None, None])
    assert len({int(numbers[index]) for index in (0, 2, 3)}) == 1
    assert len(set(numbers.tolist())) == 4


@pytest.mark.parametrize("seed", range(4))
def test_no_group_is_in_two_splits_and_classes_are_even(seed: int) -> None:
    generator = np.random.default_rng(seed)
    images = with_groups(_patients({label: generator.integers(1, 12, 40).tolist() for label in "abc"}), r"(\w-p\d+)-")
    splits = draw_splits(images, _hashes(images), DataConfig(seed=seed))
    of_group = defaultdict(set)
    counts: Counter[tuple[str, str | None]] = Counter()
    for item, split in zip(images.items, splits.assignment, strict=True):
        of_group[item.group].add(split)
        counts[item.label, split] += 1
    assert all(len(names) == 1 for names in of_group.values())
    for label in "abc":
        total = sum(count for (name, _), count in counts.items() if name == label)
        assert counts[label, "val"] / total == pytest.approx(0.2, abs=0.05)
        assert counts[label, "test"] / total == pytest.approx(0.2, abs=0.05)
    assert draw_splits(images, _hashes(images), DataConfig(seed=seed)) == splits


def test_groups_of_several_classes() -> None:
    items = [
        Item(Path(f"/data/{label}/{video:02}-{number}.png"), label, None, f"video {video}")
        for video in range(15)
        for label in "ab"
        for number in range(3)
    ]
    images = image_set(Path("/data"), items)
    assignment = draw_splits(images, _hashes(images), DataConfig()).assignment
    splits = {item.group: set[str | None]() for item in images.items}
    for item, split in zip(images.items, assignment, strict=True):
        splits[item.group].add(split)
    assert Counter(name for names in splits.values() for name in names) == {"train": 9, "val": 3, "test": 3}


def test_three_groups_of_a_class_are_just_enough() -> None:
    images = with_groups(_patients({"few": [4, 3, 2], "many": [2] * 30}), r"(\w+-p\d+)-")
    splits = draw_splits(images, _hashes(images), DataConfig())
    names = {split for item, split in zip(images.items, splits.assignment, strict=True) if item.label == "few"}
    assert names == {"train", "val", "test"}


def test_a_class_in_too_few_groups_is_named() -> None:
    images = with_groups(_patients({"few": [20, 20], "many": [2] * 30}), r"(\w+-p\d+)-")
    with pytest.raises(DataError, match="class 'few' is in too few groups to be in train, test and val"):
        draw_splits(images, _hashes(images), DataConfig())


def test_a_copy_under_two_labels_keeps_its_whole_groups_in_train() -> None:
    images = with_groups(_patients({"a": [3] * 10, "b": [3] * 10}), r"(\w-p\d+)-")
    hashes = _hashes(images)
    hashes[0] = hashes[-1]
    assignment = draw_splits(images, hashes, DataConfig()).assignment
    assert assignment[:3] == assignment[-3:] == ("train",) * 3


def test_groups_across_given_splits_are_reported() -> None:
    numbers: dict[Split, range] = {"train": range(5), "test": range(4, 6)}
    items = [
        Item(Path(f"/data/{split}/{label}/{number}.png"), label, split, f"{label}{number}")
        for split in numbers
        for label in "ab"
        for number in numbers[split]
    ]
    images = image_set(Path("/data"), items)
    found = Check(images, tuple(Facts(str(number)) for number in range(len(items))), (), ())
    assert sorted(found.leaking_groups) == ["a4", "b4"]
    assert "2 groups with images in two splits: scores will be optimistic." in found.warnings


@pytest.mark.parametrize("pattern", ["(", "(" * 3000, "a{99999999999999}", "*"])
def test_what_is_not_a_regular_expression_is_one_line(pattern: str) -> None:
    images = image_set(Path("/data"), [Item(Path("/data/a/0.png"), "a"), Item(Path("/data/b/0.png"), "b")])
    with pytest.raises(OptionError, match="is not a valid regular expression") as caught:
        with_groups(images, pattern)
    assert len(str(caught.value)) < 250
