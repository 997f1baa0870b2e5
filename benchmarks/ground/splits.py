"""Which splits the proving ground draws, what each is for, and how one is drawn.

Development splits are for looking at while methods, defaults and this benchmark are made; the published split was
fixed before anything was run on it, and tables for readers come from it alone. A data set's official test split is the
test split of the published ones; development splits never see it and carve their test images out of the rest.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thawline.data.cache import user_cache
from thawline.data.layout import Split
from thawline.data.read import read_named
from thawline.data.sources import Item
from thawline.records import write_text

DEVELOPMENT = (0, 1)
PUBLISHED = (200,)
TRIAL = (201, 202)
"""Drawn for the third and the fourth trial of `auto`, whose rows alone are run on them."""
TEST_SHARE = 0.3
"""Largest fraction of the images that is held out as test when there is no official test split."""


@dataclass(frozen=True)
class Sizes:
    """Images at most in each split, and at least of each class in the training split."""

    train: int = 400
    val: int = 250
    test: int = 1000
    least: int = 4


def is_development(split: int) -> bool:
    """Whether results on this split are for development only and are not published."""
    return split < PUBLISHED[0]


def purpose(split: int) -> str:
    """What a split is for, in a word."""
    if is_development(split):
        return "development"
    return "trial" if split in TRIAL else "published"


def write_manifest(data: Path, split: int, sizes: Sizes, path: Path) -> None:
    """Write the manifest (path, label, split) of the images that are drawn from the folder `data`."""
    drawn = draw(read_named(str(data.resolve()), user_cache() / "data").items, split, sizes)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "label", "split"])
    table.writerows([str(item.path), item.label, name] for name, items in drawn.items() for item in items)
    write_text(path, text.getvalue())


def draw(items: Sequence[Item], split: int, sizes: Sizes) -> dict[Split, list[Item]]:
    """Stratified splits of `items`; equal for equal items, split number and sizes.

    Where too few images are left for train and val, both shrink alike.
    """
    official = [item for item in items if item.split == "test"]
    generator = np.random.default_rng(split)
    pools = _pools((item for item in items if item.split != "test"), generator)
    if official and not is_development(split):
        test = _take(_pools(official, generator), sizes.test)
    else:
        test = _take(pools, min(sizes.test, int(TEST_SHARE * _count(pools))))
    shrunk = min(1.0, _count(pools) / (sizes.train + sizes.val))
    train = _take(pools, int(shrunk * sizes.train), sizes.least)
    return {"train": train, "val": _take(pools, int(shrunk * sizes.val)), "test": test}


def allocation(counts: Sequence[int], total: int, least: int) -> list[int]:
    """How many images each class gives to a draw of `total`: in proportion to `counts`, but `least` where it can.

    Many classes with `least` images each may add up to more than `total`.
    """
    ideal = total * np.array(counts) / max(sum(counts), 1)
    given = [min(least, count) for count in counts]
    while sum(given) < min(total, sum(counts)):
        lacking = [number for number, count in enumerate(counts) if given[number] < count]
        given[max(lacking, key=lambda number: (ideal[number] - given[number], -number))] += 1
    return given


def _pools(items: Iterable[Item], generator: np.random.Generator) -> dict[str, list[Item]]:
    """The images of each class in random order; classes sorted by name."""
    pools: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        pools[item.label].append(item)
    return {label: [pools[label][at] for at in generator.permutation(len(pools[label]))] for label in sorted(pools)}


def _take(pools: dict[str, list[Item]], total: int, least: int = 1) -> list[Item]:
    """Move a stratified draw out of the pools."""
    numbers = allocation([len(pool) for pool in pools.values()], total, least)
    return [pool.pop() for pool, number in zip(pools.values(), numbers, strict=True) for _ in range(number)]


def _count(pools: dict[str, list[Item]]) -> int:
    return sum(map(len, pools.values()))
