"""Train, val and test splits: stratified, seeded, with exact copies of an image always in the same split."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import train_test_split

from thawline.config import DataConfig
from thawline.data.groups import copies_of_one_image, draw_groups, kept_together
from thawline.data.layout import SPLITS, Split
from thawline.data.sources import ImageSet
from thawline.errors import DataError
from thawline.formatting import counted

VAL_SHARE = 0.2
"""Fraction for val: of all images if no splits are given, of the training images if test is given."""
TEST_SHARE = 0.2
"""Fraction of all images for test if no splits are given."""

Assignment = list[Split | None]


@dataclass(frozen=True)
class Splits:
    """The split of every image, in the order of `ImageSet.items`."""

    assignment: tuple[Split | None, ...]
    """None = left out: unreadable, or a copy of an image in a later split."""
    notes: tuple[str, ...] = ()
    """Notes for the user, one line each."""

    @property
    def has_test(self) -> bool:
        """Whether there is a test split."""
        return "test" in self.assignment

    def indices(self, name: str) -> np.ndarray:
        """Positions of the images of a split, [n] int64."""
        return np.flatnonzero(np.array([split == name for split in self.assignment]))


def draw_splits(images: ImageSet, hashes: Sequence[str], config: DataConfig, *, skip: Collection[int] = ()) -> Splits:
    """Keep the splits that the dataset gives and draw the missing ones.

    Nothing given, or train only: 60/20/20. Train and test: val is a fifth of train. Train and val: no test, unless
    `config.test_share` takes it from train. Every drawn split contains every class. Files with equal `hashes` share a
    split; if their labels differ, all of them go to train. Images of a group share a split too, balanced as well as
    whole groups allow. Given splits are kept, except that copies of a test image are left out of val and train, and
    copies of a val image out of train. `skip` holds positions of images to leave out. Raises `DataError` if a class has
    too few images.
    """
    skipped = frozenset(skip)
    assignment: Assignment = [
        None if index in skipped else item.split or "train" for index, item in enumerate(images.items)
    ]
    given = {split for split in assignment if split}
    notes = _drop_straddling(images, assignment, hashes)
    shares, note = _missing_shares(given, config)
    _carve(images, assignment, hashes, shares, config)
    _require_training_images(images, assignment)
    return Splits(tuple(assignment), (*notes, *note))


def refusal(images: ImageSet, hashes: Sequence[str], config: DataConfig, *, skip: Collection[int] = ()) -> str:
    """Why `draw_splits` refuses these images; empty if it does not."""
    try:
        draw_splits(images, hashes, config, skip=skip)
    except DataError as error:
        return str(error)
    return ""


def _missing_shares(given: Collection[Split], config: DataConfig) -> tuple[list[tuple[Split, float]], list[str]]:
    """The splits to draw, as fractions of train, and notes for the user."""
    if "test" in given:
        notes = ["`test_share` is not used: the dataset has its own test split."] if config.test_share else []
        if "val" in given:
            return [], notes
        return [("val", VAL_SHARE)], [*notes, f"val is drawn from train: {VAL_SHARE:.0%} of each class."]
    if "val" in given:
        return ([("test", config.test_share)] if config.test_share else []), []
    test_share = config.test_share or TEST_SHARE
    if test_share + VAL_SHARE >= 1:
        raise DataError(f"`test_share` {test_share:g} leaves no training images, as val takes {VAL_SHARE:g}; lower it.")
    return [("test", test_share), ("val", VAL_SHARE)], []


def _drop_straddling(images: ImageSet, assignment: Assignment, hashes: Sequence[str]) -> list[str]:
    """Keep exact copies in one split only: test before val before train. Changes `assignment`."""
    dropped = []
    for copies in copies_of_one_image(hashes):
        strongest = max((SPLITS.index(split) for index in copies if (split := assignment[index])), default=0)
        for index in copies:
            if assignment[index] is not None and assignment[index] != SPLITS[strongest]:
                assignment[index] = None
                dropped.append(images.name(images.items[index]))
    if not dropped:
        return []
    more = f" and {len(dropped) - 3} more" if len(dropped) > 3 else ""
    return [
        f"{counted(len(dropped), 'image')} left out because exact copies of them are in val or test: "
        f"{', '.join(map(repr, dropped[:3]))}{more} (empty split in splits.csv)."
    ]


def _carve(
    images: ImageSet,
    assignment: Assignment,
    hashes: Sequence[str],
    shares: Sequence[tuple[Split, float]],
    config: DataConfig,
) -> None:
    """Move a fraction of each class from train to the splits to draw. Changes `assignment`."""
    if not shares:
        return
    together = kept_together(hashes, [item.group for item in images.items])
    movable = _movable(images, assignment, hashes, together)
    if any(images.items[index].group for index in movable):
        _carve_groups(images, assignment, together, movable, shares, config.seed)
        return
    units: dict[str, dict[int, list[int]]] = {label: defaultdict(list) for label in images.classes}
    for index in movable:
        units[images.items[index].label][int(together[index])].append(index)
    for label in images.classes:
        for split, positions in _draw_class(label, list(units[label].values()), shares, config).items():
            for index in positions:
                assignment[index] = split


def _movable(images: ImageSet, assignment: Assignment, hashes: Sequence[str], together: np.ndarray) -> list[int]:
    """Training images that may leave train: not copies of an image under several labels, nor images linked to them."""
    contradictions = [
        same for same in copies_of_one_image(hashes) if len({images.items[index].label for index in same}) > 1
    ]
    stay = {int(together[index]) for same in contradictions for index in same}
    return [index for index, split in enumerate(assignment) if split == "train" and int(together[index]) not in stay]


def _carve_groups(
    images: ImageSet,
    assignment: Assignment,
    together: np.ndarray,
    movable: Sequence[int],
    shares: Sequence[tuple[Split, float]],
    seed: int,
) -> None:
    """`_carve` with whole groups. Changes `assignment`."""
    rest, targets, total = np.array(movable), np.array(images.targets), len(movable)
    for number, (split, share) in enumerate(shares):
        chosen, missing = draw_groups(
            targets[rest],
            together[rest],
            share * total / len(rest),
            seed=seed,
            still_to_draw=len(shares) - number - 1,
        )
        absent = [label for code, label in enumerate(images.classes) if code not in targets[rest]]
        if missing or absent:
            label = images.classes[missing[0]] if missing else absent[0]
            raise DataError(
                f"class {label!r} is in too few groups to be in train, {' and '.join(name for name, _ in shares)}, "
                "each with groups of its own; add images of other groups, or define the splits yourself."
            )
        for index in rest[chosen]:
            assignment[index] = split
        rest = np.delete(rest, chosen)


def _draw_class(
    label: str, units: list[list[int]], shares: Sequence[tuple[Split, float]], config: DataConfig
) -> dict[Split, list[int]]:
    """Positions of a class by split. The draw depends only on the seed and this class, not on other classes."""
    if len(units) <= len(shares):
        raise DataError(
            f"class {label!r} has only {counted(len(units), 'distinct readable image')}, "
            f"but needs at least {len(shares) + 1}, one each for train, {' and '.join(split for split, _ in shares)}; "
            f"{'raise `limit`, ' if config.limit else ''}add images or remove the class."
        )
    total, drawn = len(units), {}
    state = zlib.crc32(f"{config.seed}/{label}".encode())
    for number, (split, share) in enumerate(shares):
        still_to_serve = len(shares) - number  # the later splits and train get at least one image each
        count = min(max(1, round(share * total)), len(units) - still_to_serve)
        units, taken = train_test_split(units, test_size=count, random_state=state)
        drawn[split] = [index for unit in taken for index in unit]
    return drawn


def _require_training_images(images: ImageSet, assignment: Assignment) -> None:
    present = {item.label for item, split in zip(images.items, assignment, strict=True) if split == "train"}
    if missing := [label for label in images.classes if label not in present]:
        raise DataError(
            f"class {missing[0]!r} has no usable training images: all are unreadable or copies of images in val "
            "or test; add images or remove the class."
        )


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> tuple[np.ndarray, ...]:
    """Sorted positions of each fold; classes are dealt out evenly, in an order drawn from the seed.

    A class with fewer images than folds still has one image in every fold, because a network cannot learn a class that
    it never sees.
    """
    rng = np.random.default_rng([seed, folds])
    orders = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    dealt = [
        [_share(order, (fold + turn) % folds, folds) for turn, order in enumerate(orders)] for fold in range(folds)
    ]
    return tuple(np.sort(np.concatenate(parts)) for parts in dealt)


def _share(order: np.ndarray, fold: int, folds: int) -> np.ndarray:
    return order[fold::folds] if len(order) >= folds else order[[fold % len(order)]]


def limit_images(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """Draw `limit` images, seeded and stratified by class and given split; all images if the set has fewer.

    Raises `DataError` if the limit is too low to keep every class in every split.
    """
    if limit is None or limit >= len(images.items):
        return images
    strata = [f"{item.split}/{item.label}" for item in images.items]
    if limit < len(set(strata)) or len(images.items) - limit < len(set(strata)):
        raise DataError(
            f"`limit` {limit} cannot keep the proportions of {len(images.classes)} classes in {images.root.name!r}; "
            f"choose {len(set(strata))} to {len(images.items) - len(set(strata))}, or omit it to use all images."
        )
    kept, _ = train_test_split(np.arange(len(strata)), train_size=limit, stratify=strata, random_state=seed)
    return replace(images, items=tuple(images.items[index] for index in sorted(kept)))


def nested_subset(strata: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Sorted positions of `size` of the items, stratified and seeded; a smaller subset is part of every larger one.

    `strata` [n] are whole numbers. Every stratum has at least one item, so there may be more than `size`.
    """
    order, first = _evenly(strata, np.random.default_rng(seed), start=0.5)
    ahead = np.concatenate([order[first], order[~first]])
    return np.sort(ahead[: max(size, int(first.sum()))])


def spread_evenly(strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of items [n] in which every stretch has each stratum in about its share."""
    return _evenly(strata, rng, start=None)[0]


def _evenly(strata: np.ndarray, rng: np.random.Generator, start: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Items in an order that spreads each stratum evenly, and which of them are the first of their stratum.

    Item k of the m of a stratum, in random order, comes at (k + start) / m, as in the method of Sainte-Lague, whose
    seats never shrink when there are more of them; `start` None = a random one in [0, 1) for each stratum.
    """
    places = np.empty(len(strata))
    rank = np.empty(len(strata), np.int64)
    for stratum in np.unique(strata):
        own = rng.permutation(np.flatnonzero(strata == stratum))
        rank[own] = np.arange(len(own))
        places[own] = (rank[own] + (rng.random() if start is None else start)) / len(own)
    order = np.argsort(places, kind="stable")
    return order, rank[order] == 0
