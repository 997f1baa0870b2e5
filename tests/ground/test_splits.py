from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.ground.sets import SETS
from benchmarks.ground.splits import PUBLISHED, Sizes, allocation, draw, write_manifest
from thawline.data.layout import Split
from thawline.data.sources import Item

SIZES = Sizes(train=40, val=25, test=30, least=4)


def items(counts: dict[str, int], split: Split | None = None) -> list[Item]:
    return [
        Item(Path(f"{split}/{label}/{number}.png"), label, split)
        for label, count in counts.items()
        for number in range(count)
    ]


def by_class(drawn: Sequence[Item]) -> Counter[str]:
    return Counter(item.label for item in drawn)


def test_a_split_is_stratified_and_disjoint() -> None:
    drawn = draw(items({"a": 200, "b": 100, "c": 100}), 0, SIZES)
    assert by_class(drawn["train"]) == {"a": 20, "b": 10, "c": 10}
    assert by_class(drawn["val"]) == {"a": 13, "b": 6, "c": 6}
    assert by_class(drawn["test"]) == {"a": 15, "b": 8, "c": 7}
    paths = [item.path for split in drawn.values() for item in split]
    assert len(set(paths)) == len(paths) == 95


def test_the_number_alone_decides_what_is_drawn() -> None:
    given = items({"a": 100, "b": 100})
    assert draw(given, 1, SIZES) == draw(given, 1, SIZES)
    assert draw(given, 1, SIZES)["train"] != draw(given, 0, SIZES)["train"]


def test_published_splits_test_on_the_official_test_split_which_development_never_sees() -> None:
    given = items({"a": 100, "b": 100}, "train") + items({"a": 20, "b": 20}, "val") + items({"a": 50, "b": 10}, "test")
    published, development = (draw(given, split, SIZES) for split in (PUBLISHED[0], 0))
    assert {item.split for item in published["test"]} == {"test"}
    assert by_class(published["test"]) == {"a": 25, "b": 5}
    assert {item.split for name in ("train", "val") for item in published[name]} == {"train", "val"}
    assert {item.split for drawn in development.values() for item in drawn} == {"train", "val"}


def test_train_and_val_shrink_alike_where_images_are_few() -> None:
    drawn = draw(items({"a": 25, "b": 25}), 0, SIZES)
    assert {name: len(found) for name, found in drawn.items()} == {"train": 21, "val": 13, "test": 15}


@pytest.mark.parametrize(
    ("counts", "total", "least", "expected"),
    [
        ([60, 30, 10], 10, 1, [6, 3, 1]),
        ([97, 2, 1], 10, 1, [8, 1, 1]),  # rare classes are there, too
        ([97, 2, 1], 10, 4, [7, 2, 1]),  # as far as there are any
        ([5, 5], 100, 1, [5, 5]),
        ([20, 20, 20], 6, 4, [4, 4, 4]),  # `least` before the total
    ],
)
def test_allocation(counts: list[int], total: int, least: int, expected: list[int]) -> None:
    assert allocation(counts, total, least) == expected


@pytest.mark.parametrize("name", ["caltech101", "flowers12"])
def test_every_class_of_a_real_set_is_in_every_split(name: str, shared: Path, tmp_path: Path) -> None:
    assert name in SETS
    manifest = tmp_path / "manifest.csv"
    write_manifest(shared / "data" / name, 0, Sizes(), manifest)
    with manifest.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    counts = Counter((row["split"], row["label"]) for row in rows)
    classes = {row["label"] for row in rows}
    assert min(counts["train", label] for label in classes) >= 4
    assert all(counts[split, label] for split in ("val", "test") for label in classes)
    assert not any("/test/" in row["path"] for row in rows)
