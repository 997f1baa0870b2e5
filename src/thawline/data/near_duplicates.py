"""Images that look alike although their files differ: resized, compressed again, brightened, recoloured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

LARGEST_DISTANCE = 8
"""Bits of 128 in which two difference hashes may differ. On photographs, copies at 60 % of the size or at JPEG quality
60 stay within it in 99 of 100 cases, and different pictures hardly ever come that close."""

LARGEST_SEARCH = 100_000
"""Different hashes. Where many images share most of their bits, twice as many take four times as long."""

_BANDS = LARGEST_DISTANCE + 1
"""Parts that a hash is cut into: two hashes that differ in fewer bits than there are parts have one part in common."""


def lookalikes(hashes: Sequence[str]) -> list[list[int]]:
    """Groups of positions, two or more each, linked by hashes at most `LARGEST_DISTANCE` bits apart.

    `hashes` are those of `survey.difference_hash`; an empty one is like no other. Nothing is found among more than
    `LARGEST_SEARCH` different hashes.
    """
    positions: dict[str, list[int]] = defaultdict(list)
    for position, one in enumerate(hashes):
        if one:
            positions[one].append(position)
    different = list(positions)
    if not different or len(different) > LARGEST_SEARCH:
        return []
    groups: dict[int, list[int]] = defaultdict(list)
    for one, group in zip(different, _linked(_words(different)), strict=True):
        groups[int(group)] += positions[one]
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _words(hashes: Sequence[str]) -> np.ndarray:
    """[n, 2] uint64."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(len(hashes), -1)


def _linked(words: np.ndarray) -> np.ndarray:
    """[n], the number of the group that each hash belongs to."""
    group = np.arange(len(words))
    for band in _bands(words):
        group = _joined_within(words, band, group)
    return group


def _bands(words: np.ndarray) -> np.ndarray:
    """[bands, n] integers, each of every ninth bit: neighbouring bits are often equal in all images of a set."""
    bits = np.unpackbits(words.view(np.uint8), axis=1)
    length = bits.shape[1] // _BANDS
    spread = bits[:, : length * _BANDS].reshape(len(words), length, _BANDS)
    bands: np.ndarray = np.einsum("nlb,l->bn", spread, 1 << np.arange(length), dtype=np.int64)
    return bands


def _joined_within(words: np.ndarray, band: np.ndarray, group: np.ndarray) -> np.ndarray:
    """[n], the groups after each hash was compared with all others of the same number in `band`."""
    order = np.argsort(band, kind="stable")
    _, starts, ranked = np.unique(band[order], return_index=True, return_inverse=True)
    first = _undecided(np.arange(len(band)), ranked, starts, group[order])
    for step in range(1, len(band)):
        first = first[first < len(band) - step]
        first = first[ranked[first] == ranked[first + step]]
        if not first.size:
            break
        pairs = np.stack([order[first], order[first + step]])
        pairs = pairs[:, group[pairs[0]] != group[pairs[1]]]
        distance = np.bitwise_count(words[pairs[0]] ^ words[pairs[1]]).sum(axis=1)
        if (near := distance <= LARGEST_DISTANCE).any():
            group = _joined(group, pairs[:, near])
            first = _undecided(first, ranked, starts, group[order])
    return group


def _undecided(first: np.ndarray, ranked: np.ndarray, starts: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Those of `first` that share their number with another group: many frames of one video are one group soon."""
    mixed = np.minimum.reduceat(group, starts) != np.maximum.reduceat(group, starts)
    undecided: np.ndarray = first[mixed[ranked[first]]]
    return undecided


def _joined(group: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """[n], the groups when those of each of the pairs [2, p] become one."""
    row, column = group[pairs]
    graph = coo_array((np.ones(len(row), np.int8), (row, column)), shape=(len(group), len(group)))
    joined: np.ndarray = connected_components(graph, directed=False)[1][group]
    return joined
