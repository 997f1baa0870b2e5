"""Images that must share a split: exact copies, and images of one patient, camera or video."""

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
from thawline.ranges import shown

_ATTEMPTS = 10
"""Largest number of seeded draws; the most balanced is used."""

_EVEN_ENOUGH = 0.02
"""Drawing stops at this deviation of a class's share or below."""


def with_groups(images: ImageSet, pattern: str) -> ImageSet:
    """Assign groups from the relative paths: the first capturing group of `pattern`, or else the whole match.

    Images whose path does not match belong to no group. Raises `OptionError` if `pattern` is not a regular expression
    and `DataError` if it matches no path.
    """
    try:
        expression = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise OptionError(f"`group_pattern` {shown(pattern)} is not a valid regular expression ({error}).") from error
    found = [expression.search(images.name(item)) for item in images.items]
    if not any(found):
        first = images.name(images.items[0])
        raise DataError(f"`group_pattern` {pattern!r} matches no path in {str(images.root)!r}, e.g. {first!r}.")
    names = [match and match.group(1 if expression.groups else 0) for match in found]
    items = tuple(replace(item, group=name or None) for item, name in zip(images.items, names, strict=True))
    lonely = sum(item.group is None for item in items)
    note = (f"{counted(lonely, 'image')} not matched by the group pattern, so in no group",) if lonely else ()
    return replace(images, items=items, notes=(*images.notes, *note))


def copies_of_one_image(hashes: Sequence[str]) -> list[list[int]]:
    """Sets of two or more positions with equal hashes; an empty hash equals nothing."""
    return [same for same in _positions(hashes) if len(same) > 1]


def kept_together(hashes: Sequence[str], groups: Sequence[str | None]) -> np.ndarray:
    """Component numbers [N]: equal for images linked by a common hash or group, directly or through other images."""
    links = [pair for same in (*_positions(hashes), *_positions(groups)) for pair in pairwise(same)]
    rows, columns = np.array(links, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(hashes), len(hashes)))
    numbers: np.ndarray = connected_components(graph, directed=False)[1]
    return numbers


@dataclass(frozen=True)
class _Fold:
    """A candidate split: its positions and how balanced it is."""

    positions: np.ndarray
    missing: tuple[int, ...]
    """Classes that the fold lacks, or of which too few groups would remain."""
    unevenness: float
    """Largest deviation of a class's share from the requested one."""


def draw_groups(
    targets: np.ndarray, together: np.ndarray, share: float, *, seed: int, still_to_draw: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Draw about `share` of the images in whole groups, as balanced over classes as the groups allow.

    `targets` and `together` are [n]. Returns the chosen positions, and the classes that cannot be in this split, in
    `still_to_draw` more splits and in the rest (none if all is well).
    """
    folds = min(max(2, round(1 / share)), len(np.unique(together)))
    if folds < 2:
        return np.array([], np.int64), tuple(np.unique(targets).tolist())
    candidates = []
    with warnings.catch_warnings():
        # Classes in fewer groups than folds are handled below: a fold that lacks one is not chosen.
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
    """Positions grouped by key, ignoring empty keys and None."""
    positions: dict[str, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        if key:
            positions[key].append(position)
    return list(positions.values())
