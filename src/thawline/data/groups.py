"""Images that must not come into two splits: copies, and those of one patient, camera or video."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from thawline.data.sources import ImageSet
from thawline.errors import DataError, OptionError
from thawline.formatting import counted

_ATTEMPTS = 10
"""Seeded draws at most, of which the most even one is taken."""

_EVEN_ENOUGH = 0.02
"""Deviation of a class's share at which no further draw is made."""


def with_groups(images: ImageSet, pattern: str) -> ImageSet:
    """Groups read off the relative paths: what the first bracket of `pattern` matches, or else the whole match.

    An image that the regular expression is not found in belongs to no group. Raises `OptionError` for a pattern that
    is no regular expression, `DataError` if it is found in no path at all.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise OptionError(f"--group-pattern {pattern!r} is no regular expression ({error}).") from error
    found = [expression.search(images.name(item)) for item in images.items]
    if not any(found):
        first = images.name(images.items[0])
        raise DataError(f"--group-pattern {pattern!r} is found in no path of {str(images.root)!r}, such as {first!r}.")
    names = [match and match.group(1 if expression.groups else 0) for match in found]
    items = tuple(replace(item, group=name or None) for item, name in zip(images.items, names, strict=True))
    lonely = sum(item.group is None for item in items)
    note = (f"{counted(lonely, 'image')} without a match of the group pattern, of no group",) if lonely else ()
    return replace(images, items=items, notes=(*images.notes, *note))


def copies_of_one_image(hashes: Sequence[str]) -> list[list[int]]:
    """Positions of files with equal hashes, two or more each; an empty hash equals nothing."""
    return [same for same in _positions(hashes) if len(same) > 1]


def kept_together(hashes: Sequence[str], groups: Sequence[str | None]) -> np.ndarray:
    """[N], a number for each image, equal for those linked by a common hash or group, also through others."""
    links = [pair for same in (*_positions(hashes), *_positions(groups)) for pair in pairwise(same)]
    rows, columns = np.array(links, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(hashes), len(hashes)))
    numbers: np.ndarray = connected_components(graph, directed=False)[1]
    return numbers


@dataclass(frozen=True)
class _Fold:
    """Positions that could become a split, and how well they would do."""

    positions: np.ndarray
    missing: tuple[int, ...]
    """Classes that it lacks, or that the rest would then have too few groups of."""
    unevenness: float
    """Largest deviation of a class's share from the wanted one."""


def draw_groups(
    targets: np.ndarray, together: np.ndarray, share: float, *, seed: int, still_to_draw: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """About `share` of the images, whole groups only, every class as evenly as the groups allow.

    `targets` and `together` are [n]. Returns the chosen positions, and the classes that could not be represented on
    both sides with `still_to_draw` more splits to come out of the rest (none, if all is well).
    """
    folds = min(max(2, round(1 / share)), len(np.unique(together)))
    if folds < 2:
        return np.array([], np.int64), tuple(np.unique(targets).tolist())
    candidates = []
    with warnings.catch_warnings():
        # A class in fewer groups than folds is looked after here: a fold that lacks it is not taken.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for attempt in range(_ATTEMPTS):
            splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=(seed * _ATTEMPTS + attempt) % 2**32)
            for _, positions in splitter.split(targets, targets, together):
                candidates.append(_judged(positions, targets, together, share, still_to_draw))
            if any(not fold.missing and fold.unevenness < _EVEN_ENOUGH for fold in candidates):
                break
    best = min(candidates, key=lambda fold: (len(fold.missing), fold.unevenness))
    return best.positions, best.missing


def _judged(
    positions: np.ndarray, targets: np.ndarray, together: np.ndarray, share: float, still_to_draw: int
) -> _Fold:
    chosen = np.isin(np.arange(len(targets)), positions)
    missing, deviations = [], []
    for target in np.unique(targets):
        of_class = targets == target
        left = len(np.unique(together[of_class & ~chosen]))
        if not (of_class & chosen).any() or left < still_to_draw + 1:
            missing.append(int(target))
        deviations.append(abs((of_class & chosen).sum() / of_class.sum() - share))
    return _Fold(positions, tuple(missing), float(max(deviations)))


def _positions(keys: Sequence[str | None]) -> list[list[int]]:
    """Positions by key; empty keys and None are no key."""
    positions: dict[str, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        if key:
            positions[key].append(position)
    return list(positions.values())
